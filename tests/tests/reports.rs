//! Reports in headless Chromium: they draw, answer to the mouse, and say what the program says.

use quadrille::html;
use quadrille::machine::Machine;
use quadrille::pipeline;
use quadrille_isa::container::AnyProgram;
use quadrille_tests::browser::Page;
use quadrille_tests::corpus;
use quadrille_tests::whole::whole;
use serde_json::json;

/// Writes the report of a model of the corpus; gives the folder that it lies in, and the program.
fn report(name: &str, machine: &str) -> (tempfile::TempDir, AnyProgram) {
    let files = corpus::model(name);
    let w = whole(&files, machine);
    let c = w.compiled;
    let (spans, links, cycles, interval) = match (&c.program, &w.machine) {
        (AnyProgram::Wafer(p), Machine::Wafer(m)) => {
            let (spans, run) = pipeline::spans(p, m, &w.inputs).expect("it runs");
            (spans, run.links, run.cycles, run.interval_cycles)
        }
        _ => (Vec::new(), Vec::new(), c.estimate.cycles, None),
    };
    let phases = c.whole_mesh().map_or(&[][..], |m| &m.phases);
    let (estimate, account) = (Some(&c.estimate), c.account.as_ref());
    let known = html::Known { estimate, account, cycles, interval, links: &links, phases };
    let page = html::of(&c.program, &w.machine, &spans, known).expect("of one target");
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("report.html"), page).expect("written");
    (dir, c.program)
}

/// Opens it, prints how long that took, and sees that it is ready.
fn open(page: &mut Page, dir: &tempfile::TempDir) {
    page.open(&dir.path().join("report.html"));
    assert_eq!(page.value("document.documentElement.dataset.ready"), "yes");
    page.painted();
    let load = page.number("performance.getEntriesByType('navigation')[0].loadEventEnd");
    println!("loaded and drawn in {load:.0} ms");
}

/// Different colours in a canvas: an empty one has one.
fn colours(page: &mut Page, selector: &str) -> f64 {
    page.number(&format!(
        "(() => {{ const c = document.querySelector({selector:?}), d = new Uint32Array(c.getContext('2d').getImageData(0, 0, \
         c.width, c.height).data.buffer); return new Set(d).size; }})()"
    ))
}

fn tip(page: &mut Page) -> String {
    page.value("getComputedStyle(tip).display === 'none' ? '' : tip.textContent").as_str().unwrap_or("").to_string()
}

/// Milliseconds a picture while the timeline is moved: printed, since a time decides nothing.
fn smoothness(page: &mut Page) {
    let times = page.value(
        "(async () => { const t = []; for (let i = 0; i < 30; i++) { setView(view.from + 50, view.to + 50); \
         const a = performance.now(); redraws.forEach((f) => f()); t.push(performance.now() - a); \
         await new Promise((d) => requestAnimationFrame(d)); } t.sort((a, b) => a - b); return t[15]; })()",
    );
    println!("a picture of everything: {times} ms (median of 30)");
}

#[test]
fn the_report_of_a_chip_can_be_used() {
    let (dir, program) = report("resnet50-int8-qdq", "tsp");
    let AnyProgram::Tsp(program) = program else { panic!("a chip's program") };
    let mut page = Page::start();
    open(&mut page, &dir);
    for n in 0..4 {
        let canvas = format!("section:nth-of-type({}) canvas", n + 1);
        if n == 3 {
            continue; // a table
        }
        assert!(colours(&mut page, &canvas) > 8.0, "picture {n} is empty");
    }
    smoothness(&mut page);

    // Zoom to a cycle with the wheel, onto the first activation of plane 0.
    let whole = page.number("view.to - view.from");
    page.value("setView(0, D.cycles)");
    for _ in 0..80 {
        page.mouse("mouseWheel", "#timeline", (0.0, 0.0), json!({ "deltaX": 0, "deltaY": -400 }));
    }
    let span = page.number("view.to - view.from");
    assert!(span <= 12.0 && span < whole / 100.0, "the wheel zooms to {span} cycles");
    let (queue, issues) = program.queues.iter().find(|(q, _)| q.to_string() == "mxm.0.activations").expect("a plane");
    let runs = issues.iter().filter(|i| i.repeat.n >= 24 && i.repeat.d == 1);
    let issue = runs.max_by_key(|i| (i.repeat.n, std::cmp::Reverse(i.cycle))).expect("a run of rows");
    let (first, last) = (issue.cycle, issue.last_cycle());
    page.value(&format!("setView({first}, {first} + 12)"));
    page.painted();
    // The row of that queue, and the middle of the view, in which the run goes on.
    page.value("window.scrollTo(0, 0)");
    let y = page.number(
        "(() => { const u = D.units.findIndex((u) => u.name === 'MXM west'); let y = 22; \
         for (const v of D.units.slice(0, u)) y += 20 + (v.queues.length <= 16 ? 9 * v.queues.length : 16); \
         return y + 16 + 9 * D.units[u].queues.findIndex((q) => q.name === 'mxm.0.activations') + 4; })()",
    );
    let height = page.number("document.querySelector('#timeline').clientHeight");
    page.mouse("mouseMoved", "#timeline", (100.0, y - height / 2.0), json!({}));
    let says = tip(&mut page);
    let node = &program.nodes[issue.node.0 as usize];
    assert!(says.contains(node.as_str()), "the tip of {queue} at cycle {first} names {node}: {says}");
    assert!(says.contains(&issue.inst.to_string()), "and the instruction: {says}");
    let grouped = page.value(&format!("fmt({last})"));
    assert!(says.contains(grouped.as_str().expect("text")), "and when it ends: {says}");

    // Drag moves by as much.
    page.value("setView(1000, 2000)");
    let before = page.number("view.from");
    page.mouse("mousePressed", "#timeline", (0.0, 0.0), json!({ "button": "left", "clickCount": 1 }));
    page.mouse("mouseMoved", "#timeline", (-120.0, 0.0), json!({ "button": "left", "buttons": 1 }));
    page.mouse("mouseReleased", "#timeline", (-120.0, 0.0), json!({ "button": "left", "clickCount": 1 }));
    let moved = page.number("view.from") - before;
    let want = page.number("120 / (document.querySelector('#timeline').clientWidth - LEFT) * 1000");
    assert!((moved - want).abs() < 2.0, "dragged by {moved} cycles instead of {want}");

    // A unit opens into its queues.
    let height = page.number("document.querySelector('#timeline').clientHeight");
    page.value("[...document.querySelectorAll('button')].find((b) => b.textContent === 'MEM west').click()");
    page.painted();
    assert!(page.number("document.querySelector('#timeline').clientHeight") > height + 300.0);

    // The table: bound, actual and what bound it; a row singles its node out; the filter and the order.
    let rows = page.number("document.querySelectorAll('tr[data-node]').length");
    assert!(rows > 50.0, "{rows} nodes");
    let actual = page.number("D.nodes.reduce((a, n) => a + n.share, 0)");
    assert!(actual <= page.number("D.cycles") && actual > 0.9 * page.number("D.cycles"), "{actual}");
    let causes = page.value("[...new Set(D.nodes.map((n) => n.binds))].every((b) => ['plane', 'VXM', 'stream', 'port', 'dependency', 'load', 'space'].includes(b))");
    assert_eq!(causes, true);
    assert!(page.number("document.querySelectorAll('#losses tr').length") >= 4.0);
    page.click("tr[data-node] td:nth-child(3)", (0.0, 0.0));
    assert_eq!(page.number("document.querySelectorAll('tr.chosen').length"), 1.0);
    let name = page.value("D.names[chosen]");
    assert!(program.nodes.iter().any(|n| name == n.as_str()));
    page.value(
        "(() => { const i = document.querySelector('input[type=search]'); i.value = D.names[chosen]; i.oninput(); })()",
    );
    let left = page.number("document.querySelectorAll('tr[data-node]').length");
    assert!(left >= 1.0 && left < rows, "{left} rows pass the filter");
    page.value("(() => { const i = document.querySelector('input[type=search]'); i.value = ''; i.oninput(); })()");
    page.value("[...document.querySelectorAll('th')].find((t) => t.textContent === 'actual').click()");
    let sorted = page.value(
        "(() => { const n = [...document.querySelectorAll('tr[data-node]')].map((r) => +r.children[2].textContent.replaceAll(',', '')); \
         return n.every((x, i) => !i || n[i - 1] >= x); })()",
    );
    assert_eq!(sorted, true, "largest first");
    assert_eq!(page.complaints(), Vec::<String>::new());
}

#[test]
fn the_report_of_a_mesh_can_be_used() {
    let (dir, program) = report("silero-vad-op18-ifless", "wafer");
    let AnyProgram::Wafer(program) = program else { panic!("a mesh's program") };
    let mut page = Page::start();
    open(&mut page, &dir);
    let map = "section:nth-of-type(1) canvas";
    let kinds = page.number("document.querySelectorAll('#map option').length");
    assert_eq!(kinds, 4.0, "compute, memory, links, kernels");
    let mut pictures = std::collections::BTreeSet::new();
    for kind in 0..kinds as usize {
        page.value(&format!(
            "(() => {{ const s = document.querySelector('#map'); s.selectedIndex = {kind}; s.onchange(); }})()"
        ));
        page.painted();
        assert!(colours(&mut page, map) > 2.0, "map {kind} is empty");
        pictures.insert(page.picture());
    }
    assert_eq!(pictures.len(), kinds as usize, "every map shows something else");
    // Routes of a color.
    let without = page.picture();
    page.value("(() => { const s = document.querySelector('#color'); s.selectedIndex = 1; s.onchange(); })()");
    page.painted();
    assert_ne!(page.picture(), without, "routes are drawn");
    // A kernel under the mouse has the user's name; a click singles it out.
    let (dx, dy) = (
        -page.number(&format!("document.querySelector('{map}').clientWidth")) / 2.0,
        -page.number(&format!("document.querySelector('{map}').clientHeight")) / 2.0,
    );
    let r = program.regions.iter().max_by_key(|r| r.rect.area()).expect("a kernel");
    let at = page.value(&format!(
        "(() => {{ const z = Math.min((document.querySelector('{map}').clientWidth - 4) / D.frame[2], (document.querySelector('{map}').clientHeight - 4) / D.frame[3]); \
         return [2 + ({} - D.frame[0] + 0.5) * z, 2 + ({} - D.frame[1] + 0.5) * z]; }})()",
        r.rect.x + r.rect.w / 2,
        r.rect.y + r.rect.h / 2
    ));
    let shift = (dx + at[0].as_f64().expect("x"), dy + at[1].as_f64().expect("y"));
    page.mouse("mouseMoved", map, shift, json!({}));
    let (says, name) = (tip(&mut page), &program.nodes[r.node.0 as usize]);
    assert!(says.contains(name.as_str()) && says.contains("busy"), "the tip names {name}: {says}");
    page.click(map, shift);
    assert_eq!(page.value("D.names[chosen]"), name.as_str());
    // The hottest links: none carries more than a wavelet a cycle, the first most.
    let links = page.number("document.querySelectorAll('tr[data-link]').length");
    assert_eq!(links, page.number("D.hottest.length"));
    assert!(links > 0.0 && page.number("D.hottest[0].wavelets") <= page.number("D.cycles"));
    assert_eq!(page.value("D.hottest.every((l, i) => !i || D.hottest[i - 1].wavelets >= l.wavelets)"), true);
    // The pipeline has a row a kernel.
    assert!(colours(&mut page, "section:nth-of-type(2) canvas") > 2.0);
    let rows = page.number("document.querySelectorAll('tr[data-node]').length");
    assert_eq!(rows, page.number("D.nodes.length"));
    assert_eq!(page.complaints(), Vec::<String>::new());
}
