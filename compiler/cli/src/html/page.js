'use strict';
// Draws the report from the numbers in #data. No network, no library.
const D = JSON.parse(document.getElementById('data').textContent);
const $ = (tag, attrs = {}, ...kids) => {
  const e = document.createElement(tag);
  for (const [k, v] of Object.entries(attrs)) k in e && k !== 'list' ? (e[k] = v) : e.setAttribute(k, v);
  e.append(...kids);
  return e;
};
const main = document.getElementById('main'), tip = document.getElementById('tip');
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const fmt = (n) => n == null ? '–' : Math.round(n).toLocaleString('en-US');
const pct = (x) => (100 * x).toFixed(x < 0.1 ? 2 : 1) + ' %';
const PALETTE = ['#4477aa', '#ee6677', '#228833', '#ccbb44', '#66ccee', '#aa3377', '#ee9944', '#44aa99', '#882255', '#999933', '#7788cc', '#cc6644'];
const colour = (node) => PALETTE[node % PALETTE.length];
let chosen = -1; // index into D.names
const redraws = [];
const redraw = () => { cancelAnimationFrame(redraw.id); redraw.id = requestAnimationFrame(() => redraws.forEach((f) => f())); };
const choose = (node) => { chosen = chosen === node ? -1 : node; document.querySelectorAll('tr[data-node]').forEach((r) => r.classList.toggle('chosen', +r.dataset.node === chosen)); redraw(); };

function showTip(ev, text) {
  if (!text) { tip.style.display = 'none'; return; }
  tip.textContent = text; tip.style.display = 'block';
  tip.style.left = Math.min(ev.clientX + 14, innerWidth - tip.offsetWidth - 8) + 'px';
  tip.style.top = Math.min(ev.clientY + 14, innerHeight - tip.offsetHeight - 8) + 'px';
}
function section(title, hint) { const s = $('section', {}, $('h2', {}, title)); if (hint) s.append($('div', { className: 'hint' }, hint)); main.append(s); return s; }
function canvas(parent, height, draw) {
  const c = $('canvas', { tabIndex: 0 }); c.style.height = height + 'px'; parent.append(c);
  const paint = () => {
    const w = c.clientWidth, r = devicePixelRatio || 1;
    if (c.width !== Math.round(w * r) || c.height !== Math.round(height * r)) { c.width = Math.round(w * r); c.height = Math.round(height * r); }
    const g = c.getContext('2d'); g.setTransform(r, 0, 0, r, 0, 0); g.clearRect(0, 0, w, height); g.font = '11px system-ui, sans-serif';
    draw(g, w, height);
  };
  redraws.push(paint); return c;
}
addEventListener('resize', redraw);

// Head.
document.getElementById('title').textContent = D.model || 'a program';
document.getElementById('subtitle').textContent = `on ${D.machine}, a declared machine description: latencies are parameters, not a claim about any silicon`;
const cards = document.getElementById('cards');
const card = (label, value) => cards.append($('div', { className: 'card' }, $('b', {}, value), $('span', {}, label)));
card('cycles', fmt(D.cycles));
card(`at ${D.clock_mhz} MHz`, (D.cycles / D.clock_mhz).toFixed(1) + ' µs');
if (D.interval != null) card('cycles between images', fmt(D.interval));
if (D.mapping_bound != null) { card('bound of the mapping', fmt(D.mapping_bound)); card('cycles / that bound', (D.cycles / Math.max(1, D.mapping_bound)).toFixed(2)); }
if (D.bound != null) card('bound of model and machine', fmt(D.bound));
if (D.kind === 'chip') { card('instructions', fmt(D.instructions)); card('program text', (D.text_bytes / 1024).toFixed(1) + ' KiB'); }
else { card('PEs', fmt(D.pes)); card('of the mesh', pct(D.pes / (D.mesh[0] * D.mesh[1]))); }

// One view of time for all charts.
const view = { from: 0, to: Math.max(1, D.cycles) };
const LEFT = 150;
const xOf = (c, w) => LEFT + (c - view.from) / (view.to - view.from) * (w - LEFT);
const cycleAt = (x, w) => view.from + (x - LEFT) / (w - LEFT) * (view.to - view.from);
function setView(from, to) {
  const min = 12, all = Math.max(1, D.cycles); let span = Math.min(all, Math.max(min, to - from));
  from = Math.max(0, Math.min(from, all - span)); view.from = from; view.to = from + span; redraw();
}
function timeControls(c) {
  c.addEventListener('wheel', (ev) => {
    ev.preventDefault();
    const at = cycleAt(Math.max(LEFT, ev.offsetX), c.clientWidth), f = Math.exp(ev.deltaY * 0.0015);
    setView(at - (at - view.from) * f, at + (view.to - at) * f);
  }, { passive: false });
  let drag = null;
  c.addEventListener('pointerdown', (ev) => { drag = { x: ev.offsetX, from: view.from, to: view.to }; c.setPointerCapture(ev.pointerId); });
  c.addEventListener('pointermove', (ev) => { if (drag) { const d = (ev.offsetX - drag.x) / (c.clientWidth - LEFT) * (drag.to - drag.from); setView(drag.from - d, drag.to - d); } });
  c.addEventListener('pointerup', () => { drag = null; });
  c.addEventListener('keydown', (ev) => {
    const s = view.to - view.from, mid = (view.from + view.to) / 2;
    const k = { ArrowLeft: [-s / 5, -s / 5], ArrowRight: [s / 5, s / 5], '+': [s / 4, -s / 4], '-': [-s / 2, s / 2], 0: [-1e12, 1e12] }[ev.key];
    if (k) { ev.preventDefault(); ev.key === '0' ? setView(0, D.cycles) : setView(view.from + k[0], view.to + k[1]); }
  });
}
function axis(g, w, y) {
  const span = view.to - view.from, raw = span / Math.max(3, (w - LEFT) / 110), pow = 10 ** Math.floor(Math.log10(Math.max(1, raw)));
  const step = Math.max(1, [1, 2, 5, 10].map((m) => m * pow).find((s) => s >= raw) || pow);
  g.fillStyle = css('--soft'); g.strokeStyle = css('--line'); g.lineWidth = 1; g.textAlign = 'center';
  for (let c = Math.ceil(view.from / step) * step; c <= view.to; c += step) { const x = xOf(c, w); g.beginPath(); g.moveTo(x, y); g.lineTo(x, g.canvas.height); g.stroke(); g.fillText(fmt(c), x, y - 3); }
  g.textAlign = 'left';
}

function nodeTable(columns, rows) {
  const s = section('Cycles by node of the model', 'Click a heading to sort, a row to single the node out in every picture.');
  const find = $('input', { placeholder: 'filter by name', type: 'search' }); s.append($('div', { className: 'bar' }, find));
  const head = $('tr'), body = $('tbody'); let key = columns[1].key, down = true;
  const fill = () => {
    body.replaceChildren(); const q = find.value.toLowerCase();
    const sorted = rows.filter((r) => r.name.toLowerCase().includes(q)).sort((a, b) => { const [x, y] = [a[key], b[key]]; const d = typeof x === 'string' ? x.localeCompare(y) : x - y; return down ? -d : d; });
    for (const r of sorted.slice(0, 2000)) {
      const tr = $('tr', {}); tr.dataset.node = r.node; tr.classList.toggle('chosen', r.node === chosen); tr.onclick = () => choose(r.node);
      columns.forEach((c, i) => { const td = $('td', {}); if (!i) td.append($('span', { className: 'swatch', style: `background:${colour(r.node)}` })); td.append(c.show ? c.show(r) : typeof r[c.key] === 'number' ? fmt(r[c.key]) : r[c.key]); tr.append(td); });
      body.append(tr);
    }
  };
  for (const c of columns) head.append($('th', { title: c.title || '', onclick: () => { down = key === c.key ? !down : c.key !== 'name'; key = c.key; fill(); } }, c.label));
  find.oninput = fill; s.append($('div', { className: 'scroll' }, $('table', {}, $('thead', {}, head), body))); fill();
}

if (D.kind === 'chip') chip(); else mesh();
redraw();
document.documentElement.dataset.ready = 'yes';

function chip() {
  const byName = new Map(D.names.map((n, i) => [n, i]));
  D.nodes.forEach((n) => { n.node = byName.get(n.name); });
  // Timeline.
  const s = section('Timeline', 'One row an instruction queue, west to east; a colour for each node. Wheel: zoom, down to a cycle. Drag: move. Keys: arrows, +, -, 0.');
  const units = D.units.map((u) => ({ ...u, open: u.queues.length <= 16 }));
  const bar = $('div', { className: 'bar' }); s.append(bar);
  bar.append($('button', { onclick: () => setView(0, D.cycles) }, 'whole program'));
  const rows = []; let c;
  const layout = () => {
    rows.length = 0; let y = 22;
    for (const u of units) {
      rows.push({ unit: u, y, h: 16, head: true }); y += 16;
      if (u.open) for (const q of u.queues) { rows.push({ unit: u, q, y, h: 9 }); y += 9; } else { rows.push({ unit: u, y, h: 16, sum: true }); y += 16; }
      y += 4;
    }
    return y;
  };
  let height = layout();
  for (const u of units) bar.append($('button', { onclick: () => { u.open = !u.open; height = layout(); c.style.height = height + 'px'; c.resize(height); } }, u.name));
  const holder = $('div'); s.append(holder);
  const I = 5; // numbers an issue
  const end = (q, i) => q.issues[i * I] + q.issues[i * I + 1] * q.issues[i * I + 2] + 1;
  // Queues issue in order, so what is visible is a range.
  const firstAt = (q, cycle) => { let lo = 0, hi = q.issues.length / I; while (lo < hi) { const mid = (lo + hi) >> 1; if (end(q, mid) < cycle) lo = mid + 1; else hi = mid; } return lo; };
  const drawQueue = (g, q, y, h, w) => {
    let lastX = -1; const px = (view.to - view.from) / (w - LEFT);
    for (let i = firstAt(q, view.from), n = q.issues.length / I; i < n; i++) {
      const start = q.issues[i * I], count = q.issues[i * I + 1], d = q.issues[i * I + 2], node = q.issues[i * I + 3];
      if (start > view.to) break;
      const x0 = Math.max(LEFT, xOf(start, w)), x1 = Math.max(x0 + 0.6, Math.min(w, xOf(end(q, i), w)));
      if (x1 <= lastX + 0.3) continue; // thinner than what is drawn already
      lastX = x1; g.globalAlpha = chosen < 0 || chosen === node ? 1 : 0.12; g.fillStyle = colour(node);
      if (count && d > 1 && px < 0.34) { // each execution for itself
        const k0 = Math.max(0, Math.floor((view.from - start) / d)), k1 = Math.min(count, Math.ceil((view.to - start) / d));
        for (let k = k0; k <= k1; k++) { const x = xOf(start + k * d, w); if (x >= LEFT - 1) g.fillRect(Math.max(LEFT, x), y, Math.max(1, 1 / px - 1), h - 1); }
      } else if (count && !px) g.fillRect(x0, y, x1 - x0, h - 1);
      else { g.fillRect(x0, y, Math.max(0.6, x1 - x0 - (px < 0.2 ? 1 : 0)), h - 1); }
    }
    g.globalAlpha = 1;
  };
  const paint = (g, w) => {
    axis(g, w, 14);
    for (const r of rows) {
      g.fillStyle = r.head ? css('--ink') : css('--soft');
      if (r.head) { g.font = 'bold 12px system-ui'; g.fillText(r.unit.name, 2, r.y + 12); g.font = '9px system-ui'; continue; }
      if (r.q) { g.fillText(r.q.name, 10, r.y + 8); drawQueue(g, r.q, r.y, r.h, w); }
      else { g.fillText(`${r.unit.queues.length} queues`, 10, r.y + 11); const h = r.h / r.unit.queues.length; r.unit.queues.forEach((q, i) => drawQueue(g, q, r.y + i * h, Math.max(1.2, h + 1), w)); }
    }
  };
  const make = () => {
    const el = $('canvas', { tabIndex: 0, id: 'timeline' }); el.style.height = height + 'px'; holder.replaceChildren(el);
    el.resize = () => { redraw(); };
    const p = () => { const w = el.clientWidth, r = devicePixelRatio || 1; if (el.width !== Math.round(w * r) || el.height !== Math.round(height * r)) { el.width = Math.round(w * r); el.height = Math.round(height * r); } const g = el.getContext('2d'); g.setTransform(r, 0, 0, r, 0, 0); g.clearRect(0, 0, w, height); g.font = '9px system-ui'; paint(g, w); };
    redraws.push(p); return el;
  };
  c = make(); timeControls(c);
  c.addEventListener('pointermove', (ev) => {
    if (ev.buttons) { showTip(ev); return; }
    const r = rows.find((r) => r.q && ev.offsetY >= r.y && ev.offsetY < r.y + r.h), cyc = cycleAt(ev.offsetX, c.clientWidth);
    if (!r || ev.offsetX < LEFT) { showTip(ev); return; }
    const slack = (view.to - view.from) / (c.clientWidth - LEFT), i = firstAt(r.q, cyc - slack);
    if (i * I < r.q.issues.length && r.q.issues[i * I] <= cyc + slack) {
      const [start, n, d, node, t] = r.q.issues.slice(i * I, i * I + I);
      showTip(ev, `${D.names[node]}\n${D.texts[t]}\n${r.q.name}, cycle ${fmt(start)}${n ? `, ${fmt(n)} more every ${d}, last ${fmt(start + n * d)}` : ''}`);
    } else showTip(ev, `${r.q.name}: idle at cycle ${fmt(cyc)}`);
  });
  c.addEventListener('pointerleave', (ev) => showTip(ev));
  c.addEventListener('dblclick', (ev) => { const r = rows.find((r) => r.q && ev.offsetY >= r.y && ev.offsetY < r.y + r.h); if (!r) return; const i = firstAt(r.q, cycleAt(ev.offsetX, c.clientWidth)); if (i * I < r.q.issues.length) choose(r.q.issues[i * I + 3]); });

  // Use over time.
  const u = section('Use over time', 'Shares of the peak of each resource, each drawn up to its highest; same view of time as above.');
  const CH = 46, uc = canvas(u, D.curves.length * (CH + 12) + 24, (g, w) => {
    axis(g, w, 14);
    D.curves.forEach((k, i) => {
      const y0 = 22 + i * (CH + 12), n = k.share.length, top = Math.max(1e-9, ...k.share); g.fillStyle = css('--panel'); g.fillRect(LEFT, y0, w - LEFT, CH);
      g.fillStyle = PALETTE[i]; g.globalAlpha = 0.75;
      for (let p = 0; p < n; p++) { const a = xOf(p * D.point_cycles, w), b = xOf((p + 1) * D.point_cycles, w); if (b < LEFT || a > w) continue; const h = k.share[p] / top * CH; g.fillRect(Math.max(LEFT, a), y0 + CH - h, Math.max(0.5, b - Math.max(LEFT, a)), h); }
      g.globalAlpha = 1; g.fillStyle = css('--ink'); const mean = k.share.reduce((a, b) => a + b, 0) / n;
      wrap(g, k.name, 4, y0 + 12, LEFT - 12); g.fillStyle = css('--soft'); g.fillText(`mean ${pct(mean)}, top ${pct(top)}`, 4, y0 + CH - 2);
    });
  });
  timeControls(uc);

  // Floorplan.
  const f = section('Floorplan', 'The chip from west to east; the darker, the larger the share of cycles in which the queue is busy.');
  const blocks = [];
  for (const un of D.units) for (const q of un.queues) blocks.push({ unit: un.name, q, share: q.busy / Math.max(1, D.cycles) });
  const fc = canvas(f, 150, (g, w) => {
    const order = ['MXM west', 'SXM west', 'MEM west', 'VXM', 'MEM east', 'SXM east', 'MXM east'], total = order.reduce((a, n) => a + weight(n), 0); let x = 0;
    for (const name of order) {
      const ww = weight(name) / total * w, mine = blocks.filter((b) => b.unit === name); g.strokeStyle = css('--line'); g.strokeRect(x + 1, 20, ww - 2, 125);
      g.fillStyle = css('--ink'); g.fillText(name, x + 3, 14);
      if (name.startsWith('MEM')) { const list = name.endsWith('west') ? [...mine].reverse() : mine; list.forEach((b, i) => cell(g, b, x + 2 + (ww - 4) * i / list.length, 22, (ww - 4) / list.length - 0.5, 121)); }
      else mine.forEach((b, i) => cell(g, b, x + 2, 22 + 121 * i / mine.length, ww - 4, 121 / mine.length - 1));
      x += ww;
    }
    function weight(n) { return n.startsWith('MEM') ? 10 : n === 'VXM' ? 3 : 2; }
    function cell(g, b, x, y, w, h) { b.box = [x, y, w, h]; g.fillStyle = heat(b.share); g.fillRect(x, y, w, h); }
  });
  fc.addEventListener('pointermove', (ev) => { const b = blocks.find((b) => b.box && ev.offsetX >= b.box[0] && ev.offsetX < b.box[0] + b.box[2] + 1 && ev.offsetY >= b.box[1] && ev.offsetY < b.box[1] + b.box[3] + 1); showTip(ev, b && `${b.q.name}: busy ${pct(b.share)}, ${fmt(b.q.issues.length / I)} instructions`); });
  fc.addEventListener('pointerleave', (ev) => showTip(ev));

  // Losses.
  if (D.losses && D.losses.length) {
    const l = section('Where the cycles went', 'Cycles of the planes, the mean over them: taking rows, and what they waited for between rows.');
    const names = { after: 'after the last row', plane: 'another plane' }, parts = [{ name: 'rows', cycles: D.planes_busy }, ...D.losses.map((x) => ({ ...x, name: names[x.cause] || x.cause }))];
    const total = parts.reduce((a, p) => a + p.cycles, 0), body = $('tbody', { id: 'losses' });
    for (const p of parts) body.append($('tr', { onclick: () => p.node && choose(byName.get(p.node)) }, $('td', {}, p.name), $('td', {}, fmt(p.cycles)), $('td', {}, pct(p.cycles / Math.max(1, total))), $('td', {}, p.node_cycles ? `${fmt(p.node_cycles)} before ${p.node}` : '')));
    l.append($('table', {}, $('thead', {}, $('tr', {}, ...['what', 'cycles', 'of all', 'most'].map((t) => $('th', {}, t)))), body));
  }

  const known = D.nodes.some((n) => n.waits);
  nodeTable([
    { key: 'name', label: 'node' },
    { key: 'bound', label: 'bound', title: known ? 'cycles that its busiest resource needs alone under the mapping' : 'cycles that its busiest resource would need alone' },
    { key: 'share', label: 'actual', title: 'cycles by which it moves the end of the program; all nodes add up to its length' },
    { key: 'ratio', label: 'actual / bound', show: (r) => r.bound ? r.ratio.toFixed(2) : '–' },
    { key: 'binds', label: 'bound by', title: known ? 'what it needs most of: a resource that works for it (plane, load, VXM), or what its planes wait for' : 'the resource that would need longest' },
    { key: 'span', label: 'span', title: 'cycles from its first to its last issue; spans of nodes overlap' },
    { key: 'plane', label: 'planes', title: 'cycles with all planes' }, { key: 'alu', label: 'ALUs' }, { key: 'load', label: 'weight loads' }, { key: 'sram', label: 'SRAM ports' }, { key: 'stream', label: 'streams' },
    ...(known ? [{ key: 'waited', label: 'waits', title: 'cycles that planes waited before its rows, the mean over the planes', show: (r) => (r.waits || []).map(([c, n]) => `${c} ${fmt(n)}`).join(', ') }] : []),
    { key: 'first', label: 'first cycle' }, { key: 'last', label: 'last cycle' },
  ], D.nodes.map((n) => ({ ...n, share: n.share || 0, ratio: (n.share || 0) / Math.max(1, n.bound), waited: (n.waits || []).reduce((a, w) => a + w[1], 0) })));

  // Instruction supply.
  const i = section('Instruction supply', `Program text, repeats and NOPs counted, and the most bytes a cycle that a queue fetches over any ${D.fetch_window} cycles.`);
  const rowsOf = D.units.map((un) => ({ name: un.name, queues: un.queues.length, text: un.queues.reduce((a, q) => a + (q.text || 0), 0), peak: un.queues.reduce((a, q) => (q.fetch > a.fetch ? q : a), un.queues[0]) }));
  const supply = $('tbody', { id: 'supply' });
  for (const r of rowsOf) supply.append($('tr', {}, $('td', {}, r.name), $('td', {}, fmt(r.queues)), $('td', {}, fmt(r.text)), $('td', {}, (r.text / Math.max(1, D.cycles)).toFixed(2)), $('td', {}, r.peak.fetch.toFixed(2)), $('td', {}, r.peak.name)));
  i.append($('table', {}, $('thead', {}, $('tr', {}, ...['unit', 'queues', 'bytes', 'bytes a cycle, all queues', 'peak of a queue', 'which'].map((t) => $('th', {}, t)))), supply));

  // Roofline.
  const r = section('Roofline', 'Multiply-adds of the planes, padding lanes included, a cycle of the node\'s span, against multiply-adds a byte moved to or from SRAM.');
  const pts = D.nodes.filter((n) => n.macs > 0 && n.bytes > 0).map((n) => ({ n, x: n.macs / n.bytes, y: n.macs / n.span }));
  const rc = canvas(r, 320, (g, w, h) => {
    const L = 70, B = 30, xs = [0.1, Math.max(1e4, ...pts.map((p) => p.x * 2))].map(Math.log10), ys = [Math.min(10, ...pts.map((p) => p.y / 2)), D.peak.macs * 2].map(Math.log10);
    const X = (v) => L + (Math.log10(v) - xs[0]) / (xs[1] - xs[0]) * (w - L - 10), Y = (v) => h - B - (Math.log10(v) - ys[0]) / (ys[1] - ys[0]) * (h - B - 10);
    g.fillStyle = css('--soft'); g.strokeStyle = css('--line');
    for (let e = Math.ceil(xs[0]); e <= xs[1]; e++) { const x = X(10 ** e); g.beginPath(); g.moveTo(x, 10); g.lineTo(x, h - B); g.stroke(); g.fillText('10^' + e, x - 10, h - B + 14); }
    for (let e = Math.ceil(ys[0]); e <= ys[1]; e++) { const y = Y(10 ** e); g.beginPath(); g.moveTo(L, y); g.lineTo(w - 10, y); g.stroke(); g.fillText('10^' + e, L - 34, y + 4); }
    g.fillText('multiply-adds / SRAM byte', w / 2 - 60, h - 4);
    for (const [peak, name] of [[D.peak.macs, 'int8 peak'], [D.peak.macs_f16, 'f16 peak']]) { g.strokeStyle = css('--accent'); g.lineWidth = 1.5; g.beginPath(); const knee = peak / D.peak.bytes; g.moveTo(X(10 ** xs[0]), Y(Math.max(10 ** ys[0], D.peak.bytes * 10 ** xs[0]))); g.lineTo(X(Math.max(10 ** xs[0], knee)), Y(peak)); g.lineTo(w - 10, Y(peak)); g.stroke(); g.lineWidth = 1; g.fillText(name, w - 90, Y(peak) - 4); }
    for (const p of pts) { p.at = [X(p.x), Y(p.y)]; g.globalAlpha = chosen < 0 || chosen === p.n.node ? 0.9 : 0.15; g.fillStyle = colour(p.n.node); g.beginPath(); g.arc(p.at[0], p.at[1], 4.5, 0, 7); g.fill(); } g.globalAlpha = 1;
  });
  rc.addEventListener('pointermove', (ev) => { const p = pts.find((p) => p.at && Math.hypot(p.at[0] - ev.offsetX, p.at[1] - ev.offsetY) < 7); showTip(ev, p && `${p.n.name}\n${fmt(p.y)} multiply-adds a cycle, ${p.x.toFixed(2)} a byte`); });
  rc.addEventListener('pointerleave', (ev) => showTip(ev));
  rc.addEventListener('click', (ev) => { const p = pts.find((p) => p.at && Math.hypot(p.at[0] - ev.offsetX, p.at[1] - ev.offsetY) < 7); if (p) choose(p.n.node); });
}

function wrap(g, text, x, y, width) { let line = ''; for (const word of text.split(' ')) { if (g.measureText(line + word).width > width && line) { g.fillText(line, x, y); line = ''; y += 12; } line += word + ' '; } g.fillText(line, x, y); }
function heat(x) { const t = Math.max(0, Math.min(1, x)), a = [236, 240, 245], b = [190, 30, 45], m = [250, 190, 80]; const mix = (p, q, k) => p.map((v, i) => Math.round(v + (q[i] - v) * k)); const c = t < 0.5 ? mix(a, m, t * 2) : mix(m, b, t * 2 - 1); return `rgb(${c})`; }

function mesh() {
  const [fx, fy, fw, fh] = D.frame;
  const maps = {
    'compute: share of cycles busy': { values: D.busy, most: D.cycles, show: (v) => pct(v / D.cycles) + ' busy' },
    'memory: SRAM used': { values: D.sram, most: D.sram_bytes, show: (v) => `${fmt(v)} of ${fmt(D.sram_bytes)} B` },
    'links: colors that leave the router': { values: D.links, most: Math.max(1, ...D.links.slice(0, 1e5)), show: (v) => `${v} colors and directions` },
    'kernels': { kernels: true },
  };
  const s = section('The mesh', `${fw} x ${fh} PEs from (${fx}, ${fy}) hold the model; the whole mesh is ${D.mesh[0]} x ${D.mesh[1]}. Wheel: zoom. Drag: move. Click: single out a kernel.`);
  const pick = $('select', { id: 'map', onchange: redraw }); Object.keys(maps).forEach((k) => pick.append($('option', {}, k)));
  const route = $('select', { id: 'color', onchange: redraw }); route.append($('option', { value: '-1' }, 'no routes')); [...new Set(D.routes.map((r) => r[4]))].sort((a, b) => a - b).forEach((c) => route.append($('option', { value: c }, `routes of color ${c}`)));
  s.append($('div', { className: 'bar' }, pick, route, $('button', { onclick: () => { pan.z = 0; redraw(); } }, 'whole')));
  const pan = { x: 0, y: 0, z: 0 };
  const owner = new Int32Array(fw * fh).fill(-1);
  D.regions.forEach(([x, y, w, h, node]) => { for (let j = y - fy; j < y - fy + h; j++) owner.fill(node, j * fw + x - fx, j * fw + x - fx + w); });
  const H = Math.max(260, Math.min(760, fh * 14 + 20)), mc = canvas(s, H, (g, w, h) => {
    if (!pan.z) { pan.z = Math.min((w - 4) / fw, (h - 4) / fh); pan.x = 2; pan.y = 2; }
    const m = maps[pick.value], z = pan.z;
    const x0 = Math.max(0, Math.floor(-pan.x / z)), x1 = Math.min(fw, Math.ceil((w - pan.x) / z)), y0 = Math.max(0, Math.floor(-pan.y / z)), y1 = Math.min(fh, Math.ceil((h - pan.y) / z));
    for (let y = y0; y < y1; y++) for (let x = x0; x < x1; x++) {
      const i = y * fw + x, o = owner[i]; if (o < 0) continue;
      g.globalAlpha = chosen < 0 || chosen === o ? 1 : 0.15; g.fillStyle = m.kernels ? colour(o) : heat(m.values[i] / m.most);
      g.fillRect(pan.x + x * z, pan.y + y * z, Math.max(0.5, z - (z > 4 ? 1 : 0)), Math.max(0.5, z - (z > 4 ? 1 : 0)));
    }
    g.globalAlpha = 1;
    const color = +route.value; if (color >= 0) {
      g.strokeStyle = css('--accent'); g.lineWidth = Math.max(1, z / 8); g.beginPath(); const d = [[0, -1], [1, 0], [0, 1], [-1, 0]];
      for (const [rx, ry, rw, rh, k, from, tx] of D.routes) if (k === color) for (let y = ry; y < ry + rh; y++) for (let x = rx; x < rx + rw; x++) {
        const cx = pan.x + (x - fx + 0.5) * z, cy = pan.y + (y - fy + 0.5) * z; if (cx < -z || cy < -z || cx > w + z || cy > h + z) continue;
        const legs = [from, ...[0, 1, 2, 3].filter((b) => tx >> b & 1)].filter((b) => b < 4); for (const b of legs) { g.moveTo(cx, cy); g.lineTo(cx + d[b][0] * z / 2, cy + d[b][1] * z / 2); }
      } g.stroke(); g.lineWidth = 1;
    }
  });
  const peAt = (ev) => { const x = Math.floor((ev.offsetX - pan.x) / pan.z), y = Math.floor((ev.offsetY - pan.y) / pan.z); return x >= 0 && y >= 0 && x < fw && y < fh ? [x, y, y * fw + x] : null; };
  mc.addEventListener('wheel', (ev) => { ev.preventDefault(); const f = Math.exp(-ev.deltaY * 0.0015), z = Math.max(0.2, Math.min(80, pan.z * f)); pan.x = ev.offsetX - (ev.offsetX - pan.x) * z / pan.z; pan.y = ev.offsetY - (ev.offsetY - pan.y) * z / pan.z; pan.z = z; redraw(); }, { passive: false });
  let drag = null, moved = false;
  mc.addEventListener('pointerdown', (ev) => { drag = [ev.offsetX - pan.x, ev.offsetY - pan.y]; moved = false; mc.setPointerCapture(ev.pointerId); });
  mc.addEventListener('pointerup', (ev) => { drag = null; if (!moved) { const p = peAt(ev); if (p && owner[p[2]] >= 0) choose(owner[p[2]]); } });
  mc.addEventListener('pointermove', (ev) => {
    if (drag) { const nx = ev.offsetX - drag[0], ny = ev.offsetY - drag[1]; if (Math.hypot(nx - pan.x, ny - pan.y) > 2) moved = true; pan.x = nx; pan.y = ny; redraw(); return; }
    const p = peAt(ev); if (!p || owner[p[2]] < 0) { showTip(ev); return; }
    const colors = D.routes.filter(([x, y, w, h]) => p[0] + fx >= x && p[0] + fx < x + w && p[1] + fy >= y && p[1] + fy < y + h).map((r) => r[4]);
    showTip(ev, `PE (${p[0] + fx}, ${p[1] + fy}): ${D.names[owner[p[2]]]}\n` + Object.values(maps).filter((m) => m.show).map((m) => m.show(m.values[p[2]])).join('\n') + `\nroutes of colors ${colors.join(', ') || 'none'}`);
  });
  mc.addEventListener('pointerleave', (ev) => showTip(ev));

  // Pipeline.
  const t = section('Pipeline', 'A row a kernel, in the order of the model: how many of its PEs run a task, over time.');
  const RH = 16, tc = canvas(t, D.nodes.length * RH + 26, (g, w) => {
    axis(g, w, 14);
    D.nodes.forEach((n, i) => {
      const y = 20 + i * RH; g.globalAlpha = chosen < 0 || chosen === n.node ? 1 : 0.3; g.fillStyle = css('--ink'); g.save(); g.beginPath(); g.rect(0, y, LEFT - 6, RH); g.clip(); g.fillText(n.name, 2, y + 11); g.restore();
      const k = n.share.length; g.fillStyle = colour(n.node);
      for (let p = 0; p < k; p++) if (n.share[p] > 0) { const a = xOf(p * D.point_cycles, w), b = xOf((p + 1) * D.point_cycles, w); if (b < LEFT || a > w) continue; const h = Math.max(1, Math.min(1, n.share[p]) * (RH - 2)); g.fillRect(Math.max(LEFT, a), y + RH - 2 - h, Math.max(0.5, b - Math.max(LEFT, a)), h); }
      g.globalAlpha = 1;
    });
  });
  timeControls(tc);
  tc.addEventListener('pointermove', (ev) => { const n = D.nodes[Math.floor((ev.offsetY - 20) / RH)]; showTip(ev, n && !ev.buttons && `${n.name}\n${n.pes} PEs, busiest ${fmt(n.busiest)} cycles, mean ${fmt(n.busy)}\ncycle ${fmt(cycleAt(ev.offsetX, tc.clientWidth))}`); });
  tc.addEventListener('pointerleave', (ev) => showTip(ev));
  if (D.phases.length) {
    const steps = section('Steps', 'What all PEs do in turn, and the cycles in which the last PE ends the step before and this one, as declared.');
    const lines = $('tbody'); steps.append($('div', { className: 'scroll' }, $('table', {}, $('thead', {}, $('tr', {}, ...['node', 'step', 'from', 'to', 'cycles'].map((c) => $('th', {}, c)))), lines)));
    for (const s of D.phases) { const tr = $('tr', {}, ...[s.name, s.what, fmt(s.start), fmt(s.end), fmt(s.end - s.start)].map((v) => $('td', {}, v))); tr.dataset.step = s.what; lines.append(tr); }
  }
  const hot = section('Hottest links', 'Wavelets over the whole run; a link takes one a cycle. Click: single out the kernel there.');
  const rows = $('tbody'); hot.append($('div', { className: 'scroll' }, $('table', {}, $('thead', {}, $('tr', {}, ...['from PE', 'to the', 'wavelets', 'of the cycles', 'colors', 'kernel there'].map((c) => $('th', {}, c)))), rows)));
  for (const l of D.hottest) { const tr = $('tr', { onclick: () => choose(l.node ?? -1) }, ...[`(${l.x}, ${l.y})`, l.port, fmt(l.wavelets), pct(l.share), l.colors.join(', '), l.node === null ? 'routes alone' : D.names[l.node]].map((v) => $('td', {}, v))); tr.dataset.link = l.port; rows.append(tr); }
  nodeTable([{ key: 'name', label: 'kernel' }, { key: 'busiest', label: 'busiest PE', title: 'cycles in which its busiest PE runs tasks' }, { key: 'busy', label: 'mean of PEs' }, { key: 'pes', label: 'PEs' }, { key: 'sram', label: 'SRAM of the fullest PE' }, { key: 'first', label: 'first cycle' }, { key: 'last', label: 'last cycle' }], D.nodes);
}
