//! Draws a `tsp` program as a picture: one band per queue that does anything, time to the right, a
//! colour for each node of the model.
//!
//! ```text
//! cargo run --release -p quadrille-examples --bin draw_schedule -- PROGRAM > schedule.svg
//! ```

use quadrille_isa::container::{self, AnyProgram};
use quadrille_isa::tsp::{NodeIx, Program, QueueId};
use std::collections::BTreeMap;
use std::fmt::Write;

const WIDTH: f64 = 1000.0;
const LEFT: f64 = 64.0;
const BAND: f64 = 4.0;
/// Colours that can be told apart side by side, used in turn.
const COLOURS: [&str; 10] =
    ["#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#ee9944", "#44aa99", "#882255", "#888888"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("usage: draw_schedule PROGRAM")?;
    match container::read(&std::fs::read(path)?.into())? {
        AnyProgram::Tsp(program) => print!("{}", draw(&program)),
        AnyProgram::Wafer(_) => return Err("draws tsp programs only".into()),
    }
    Ok(())
}

/// The unit that a queue belongs to, as a heading of the picture.
fn unit(q: QueueId) -> &'static str {
    match q {
        QueueId::Mem(..) => "MEM",
        QueueId::Vxm(_) => "VXM",
        QueueId::Mxm(..) => "MXM",
        QueueId::Sxm(..) => "SXM",
    }
}

fn draw(p: &Program) -> String {
    let end = p.queues.values().flatten().map(|i| i.last_cycle()).max().unwrap_or(0) + 1;
    let x = |cycle: u32| LEFT + f64::from(cycle) / f64::from(end) * (WIDTH - LEFT);
    // Nodes take colours in the order in which they first issue.
    let mut first: BTreeMap<NodeIx, u32> = BTreeMap::new();
    for issue in p.queues.values().flat_map(|q| q.iter().skip(1)) {
        let cycle = first.entry(issue.node).or_insert(issue.cycle);
        *cycle = issue.cycle.min(*cycle);
    }
    let mut order: Vec<(u32, NodeIx)> = first.into_iter().map(|(n, c)| (c, n)).collect();
    order.sort();
    let colour: BTreeMap<NodeIx, &str> = order.iter().zip(COLOURS.iter().cycle()).map(|((_, n), c)| (*n, *c)).collect();

    let mut body = String::new();
    let (mut y, mut heading) = (24.0, "");
    for (&queue, issues) in p.queues.iter().filter(|(_, issues)| issues.len() > 1) {
        if heading != unit(queue) {
            heading = unit(queue);
            y += 8.0;
            let _ = writeln!(body, r##"<text x="4" y="{:.1}">{heading}</text>"##, y + 9.0);
        }
        let _ = writeln!(body, r##"<rect x="{LEFT}" y="{y}" width="{}" height="3" fill="#f2f2f2"/>"##, WIDTH - LEFT);
        for i in &issues[1..] {
            let (from, to) = (x(i.cycle), x(i.last_cycle() + 1));
            let title = format!("{queue} @{}..{} {}", i.cycle, i.last_cycle(), p.nodes[i.node.0 as usize]);
            let title = title.replace('&', "&amp;").replace('<', "&lt;");
            let (w, c) = ((to - from).max(0.4), colour[&i.node]);
            let _ = writeln!(
                body,
                r#"<rect x="{from:.2}" y="{y}" width="{w:.2}" height="3" fill="{c}"><title>{title}</title></rect>"#
            );
        }
        y += BAND;
    }
    y += 16.0;
    let mut legend_x = LEFT;
    for (_, n) in &order {
        let name = p.nodes[n.0 as usize].replace('&', "&amp;").replace('<', "&lt;");
        let width = 18.0 + 6.6 * name.chars().count() as f64;
        if legend_x + width > WIDTH {
            legend_x = LEFT;
            y += 16.0;
        }
        let _ = writeln!(
            body,
            r#"<rect x="{legend_x:.1}" y="{:.1}" width="10" height="10" fill="{}"/><text x="{:.1}" y="{y:.1}">{name}</text>"#,
            y - 9.0,
            colour[n],
            legend_x + 13.0
        );
        legend_x += width;
    }
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {:.0}" font-family="sans-serif" font-size="11">
<rect width="100%" height="100%" fill="#ffffff"/>
<text x="{LEFT}" y="14">{} on {}: cycles 0 to {end}, every queue that issues, coloured by node</text>
{body}</svg>
"##,
        y + 10.0,
        p.model,
        p.machine
    )
}
