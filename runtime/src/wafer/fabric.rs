//! The network that a program's routes form: one node per (PE, color), linked to the node it
//! receives from and to whatever it sends to.
//!
//! Knows routes, ports and queue bindings; knows nothing of tasks or time. Building it checks
//! all rules about routes, so that what is built is a forest of trees.

use super::rule::{CheckError, Errors, Rule};
use quadrille_isa::wafer::{Color, Machine, Pe, Port, Program};

/// Index of a PE among those that have a region or a route, in row-major order of the mesh.
pub(crate) type SiteIx = u32;
/// Index into [`Fabric::nodes`].
pub(crate) type NodeIx = u32;
/// No site, node or port.
pub(crate) const NONE: u32 = u32::MAX;

/// Where a node's wavelets come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum From {
    /// Output queue of the same PE.
    Queue(u8),
    /// The node of a neighbour.
    Node(NodeIx),
    /// Input port of this mesh row.
    Host(u16),
    /// Nothing: an error was reported.
    Nowhere,
}

/// Where a copy of a node's wavelets goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum To {
    /// Not sent there.
    Unused,
    /// The node of the neighbour on that side.
    Node(NodeIx),
    /// Input queue of the same PE.
    Queue(u8),
    /// Output port of this mesh row.
    Host(u16),
}

/// The route of one color through one router.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node {
    pub(crate) site: SiteIx,
    pub(crate) color: u8,
    pub(crate) rx: Port,
    pub(crate) from: From,
    /// By port: N, E, S, W, RAMP.
    pub(crate) to: [To; 5],
}

/// A PE in use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Site {
    pub(crate) pe: Pe,
    /// Region index or [`NONE`].
    pub(crate) region: u32,
    /// Its nodes are `nodes[first..first + count]`, in order of color.
    pub(crate) first_node: NodeIx,
    pub(crate) node_count: u32,
    /// One bit per color that has a node here.
    pub(crate) colors: u32,
}

/// The whole network.
pub(crate) struct Fabric {
    pub(crate) sites: Vec<Site>,
    pub(crate) nodes: Vec<Node>,
    width: u32,
    /// Site of each PE of the mesh or [`NONE`].
    site_of: Vec<u32>,
}

impl Fabric {
    /// Columns of the mesh.
    pub(crate) fn width(&self) -> u32 {
        self.width
    }

    /// Site of a PE.
    pub(crate) fn site(&self, pe: Pe) -> Option<SiteIx> {
        let ix = u32::from(pe.y) as usize * self.width as usize + usize::from(pe.x);
        self.site_of.get(ix).copied().filter(|&s| s != NONE)
    }

    /// Some of the sites, in this order, each with its nodes. Their nodes still say what kind of place they are linked
    /// to, but not which.
    pub(crate) fn some(&self, sites: &[SiteIx]) -> Fabric {
        let mut some = Fabric {
            sites: Vec::with_capacity(sites.len()),
            nodes: Vec::new(),
            width: self.width,
            site_of: vec![NONE; self.site_of.len()],
        };
        for &ix in sites {
            let site = self.sites[ix as usize];
            let nodes = &self.nodes[site.first_node as usize..(site.first_node + site.node_count) as usize];
            let (new, first_node) = (some.sites.len() as u32, some.nodes.len() as u32);
            some.nodes.extend(nodes.iter().map(|&n| Node { site: new, ..n }));
            some.site_of[usize::from(site.pe.y) * self.width as usize + usize::from(site.pe.x)] = new;
            some.sites.push(Site { first_node, ..site });
        }
        some
    }

    /// Node of a color at a site.
    pub(crate) fn node(&self, site: SiteIx, color: u8) -> Option<NodeIx> {
        let s = &self.sites[site as usize];
        let bit = 1u32.checked_shl(u32::from(color)).unwrap_or(0);
        (s.colors & bit != 0).then(|| s.first_node + (s.colors & (bit - 1)).count_ones())
    }
}

/// The opposite port: what leaves by one arrives by the other.
pub(crate) fn opposite(port: Port) -> Port {
    match port {
        Port::North => Port::South,
        Port::South => Port::North,
        Port::East => Port::West,
        Port::West => Port::East,
        Port::Ramp => Port::Ramp,
    }
}

pub(crate) const PORTS: [Port; 5] = [Port::North, Port::East, Port::South, Port::West, Port::Ramp];

fn neighbour(pe: Pe, port: Port, width: u32, height: u32) -> Option<Pe> {
    let (x, y) = (u32::from(pe.x), u32::from(pe.y));
    let ok = match port {
        Port::North => y > 0,
        Port::South => y + 1 < height,
        Port::West => x > 0,
        Port::East => x + 1 < width,
        Port::Ramp => false,
    };
    ok.then(|| match port {
        Port::North => Pe { x: pe.x, y: pe.y - 1 },
        Port::South => Pe { x: pe.x, y: pe.y + 1 },
        Port::West => Pe { x: pe.x - 1, y: pe.y },
        _ => Pe { x: pe.x + 1, y: pe.y },
    })
}

/// True when the rectangle is not empty and lies on the mesh.
pub(crate) fn on_mesh(rect: quadrille_isa::wafer::Rect, machine: &Machine) -> bool {
    rect.w > 0
        && rect.h > 0
        && u32::from(rect.x) + u32::from(rect.w) <= machine.geometry.width_pes
        && u32::from(rect.y) + u32::from(rect.h) <= machine.geometry.height_pes
}

/// Builds the network and reports every broken rule about regions' places, queue bindings,
/// routes and their ends.
pub(crate) fn build(program: &Program, machine: &Machine, errors: &mut Errors) -> Fabric {
    let (width, height) = (machine.geometry.width_pes, machine.geometry.height_pes);
    let cells = width as usize * height as usize;
    let mut region_of = vec![NONE; cells];
    let cell = |pe: Pe| usize::from(pe.y) * width as usize + usize::from(pe.x);
    for (ix, region) in program.regions.iter().enumerate() {
        if !on_mesh(region.rect, machine) {
            errors.push(CheckError::new(
                Rule::RegionPlace,
                format!("region {ix} at {:?} is empty or leaves the {width} x {height} mesh", region.rect),
            ));
            continue;
        }
        for pe in region.rect.pes() {
            let slot = &mut region_of[cell(pe)];
            if *slot != NONE {
                errors.push(
                    CheckError::new(Rule::RegionPlace, format!("regions {} and {ix} both claim this PE", *slot)).at(pe),
                );
            } else {
                *slot = ix as u32;
            }
        }
    }
    // Routes per cell, then nodes in (cell, color) order by counting.
    let mut count = vec![0u32; cells];
    let usable: Vec<_> = program
        .routes
        .iter()
        .filter(|r| {
            let ok = on_mesh(r.rect, machine) && u32::from(r.color.0) < machine.geometry.colors;
            if !ok {
                errors.push(
                    CheckError::new(
                        Rule::RoutePlace,
                        format!(
                            "route at {:?} is empty, leaves the {width} x {height} mesh, or its color is not below {}",
                            r.rect, machine.geometry.colors
                        ),
                    )
                    .color(r.color),
                );
            }
            ok
        })
        .collect();
    for r in &usable {
        for pe in r.rect.pes() {
            count[cell(pe)] += 1;
        }
    }
    let mut site_of = vec![NONE; cells];
    let mut sites = Vec::new();
    let mut first = 0u32;
    for y in 0..height {
        for x in 0..width {
            let pe = Pe { x: x as u16, y: y as u16 };
            let c = cell(pe);
            if count[c] > 0 || region_of[c] != NONE {
                site_of[c] = sites.len() as u32;
                sites.push(Site { pe, region: region_of[c], first_node: first, node_count: 0, colors: 0 });
                first += count[c];
            }
        }
    }
    drop(region_of);
    drop(count);
    let blank = Node { site: 0, color: 0, rx: Port::Ramp, from: From::Nowhere, to: [To::Unused; 5] };
    let mut nodes = vec![blank; first as usize];
    for r in &usable {
        for pe in r.rect.pes() {
            let ix = site_of[cell(pe)];
            let site = &mut sites[ix as usize];
            let bit = 1u32 << r.color.0;
            if site.colors & bit != 0 {
                errors
                    .push(CheckError::new(Rule::RoutePlace, "two routes of one color at one PE").at(pe).color(r.color));
                continue;
            }
            // `to` marks wanted ports as "Host" until they are linked below.
            let mut node = Node { site: ix, color: r.color.0, rx: r.rx, ..blank };
            let legal = r.tx.0 & 0x1F;
            if legal != r.tx.0 || legal == 0 {
                errors.push(
                    CheckError::new(Rule::RoutePort, format!("the set of send ports is {:#b}", r.tx.0))
                        .at(pe)
                        .color(r.color),
                );
            }
            if r.tx.has(r.rx) {
                errors.push(
                    CheckError::new(Rule::RoutePort, format!("sends back to {:?}, where it receives from", r.rx))
                        .at(pe)
                        .color(r.color),
                );
            }
            for port in PORTS {
                if r.tx.has(port) && port != r.rx {
                    node.to[port as usize] = To::Host(0);
                }
            }
            // Inserted in order of color.
            let (first, count) = (site.first_node as usize, site.node_count as usize);
            let at = first + (site.colors & (bit - 1)).count_ones() as usize;
            nodes.copy_within(at..first + count, at + 1);
            nodes[at] = node;
            site.node_count += 1;
            site.colors |= bit;
        }
    }
    let mut fabric = Fabric { sites, nodes, width, site_of };
    link(&mut fabric, program, machine, errors);
    report_loops(&fabric, errors);
    check_bindings(&fabric, program, errors);
    fabric
}

fn link(fabric: &mut Fabric, program: &Program, machine: &Machine, errors: &mut Errors) {
    let (width, height) = (machine.geometry.width_pes, machine.geometry.height_pes);
    for ix in 0..fabric.nodes.len() {
        let node = fabric.nodes[ix];
        let site = fabric.sites[node.site as usize];
        let (pe, color) = (site.pe, Color(node.color));
        if site.node_count == 0 || ix as u32 >= site.first_node + site.node_count {
            continue; // a slot left by a route that was refused
        }
        let region = program.regions.get(site.region as usize);
        let bound = |list: Option<&Vec<Option<Color>>>| {
            list.and_then(|l| l.iter().position(|&c| c == Some(color))).map(|q| q as u8)
        };
        let from = match node.rx {
            Port::Ramp => match bound(region.map(|r| &r.out_colors)) {
                Some(q) => From::Queue(q),
                None => From::Nowhere,
            },
            port => match neighbour(pe, port, width, height) {
                Some(other) => match fabric.site(other).and_then(|s| fabric.node(s, node.color)) {
                    Some(n) if fabric.nodes[n as usize].to[opposite(port) as usize] != To::Unused => From::Node(n),
                    _ => From::Nowhere,
                },
                None if port == Port::West && program.in_ports.iter().any(|p| p.row == pe.y && p.color == color) => {
                    From::Host(pe.y)
                }
                None => From::Nowhere,
            },
        };
        if from == From::Nowhere {
            let why = match node.rx {
                Port::Ramp => "no output queue of this PE has this color".to_owned(),
                port => match neighbour(pe, port, width, height) {
                    Some(o) => format!("the neighbour ({}, {}) does not send this color here", o.x, o.y),
                    None if port == Port::West => "no input port of this row has this color".to_owned(),
                    None => "the mesh ends there".to_owned(),
                },
            };
            let mut e = CheckError::new(Rule::RouteSource, format!("receives from {:?}, but {why}", node.rx))
                .at(pe)
                .color(color);
            e.other = neighbour(pe, node.rx, width, height);
            errors.push(e);
        }
        let mut to = [To::Unused; 5];
        for port in PORTS {
            if node.to[port as usize] == To::Unused {
                continue;
            }
            to[port as usize] = match port {
                Port::Ramp => match bound(region.map(|r| &r.in_colors)) {
                    Some(q) => To::Queue(q),
                    None => {
                        errors.push(
                            CheckError::new(
                                Rule::RouteSink,
                                "sends to the ramp, but no input queue of this PE has this color",
                            )
                            .at(pe)
                            .color(color),
                        );
                        To::Unused
                    }
                },
                _ => match neighbour(pe, port, width, height) {
                    Some(other) => {
                        let target = fabric.site(other).and_then(|s| fabric.node(s, node.color));
                        match target {
                            Some(n) if fabric.nodes[n as usize].rx == opposite(port) => To::Node(n),
                            Some(n) => {
                                errors.push(
                                    CheckError::new(
                                        Rule::RouteTwoInputs,
                                        format!(
                                            "sends {port:?}, but the router there receives this color from {:?}: \
                                             two inputs of one color",
                                            fabric.nodes[n as usize].rx
                                        ),
                                    )
                                    .at(pe)
                                    .color(color)
                                    .other(other),
                                );
                                To::Unused
                            }
                            None => {
                                errors.push(
                                    CheckError::new(
                                        Rule::RouteSink,
                                        format!("sends {port:?}, but the router there has no route for this color"),
                                    )
                                    .at(pe)
                                    .color(color)
                                    .other(other),
                                );
                                To::Unused
                            }
                        }
                    }
                    None if port == Port::East
                        && program.out_ports.iter().any(|p| p.row == pe.y && p.color == color) =>
                    {
                        To::Host(pe.y)
                    }
                    None => {
                        errors.push(
                            CheckError::new(
                                Rule::RoutePort,
                                format!("leaves the mesh to the {port:?}, where no output port of this color is"),
                            )
                            .at(pe)
                            .color(color),
                        );
                        To::Unused
                    }
                },
            };
        }
        // Links to neighbours are decided from `rx` and from whether a port is used at all,
        // both of which survive this assignment unless an error was reported.
        fabric.nodes[ix].from = from;
        let node = &mut fabric.nodes[ix];
        for (slot, new) in node.to.iter_mut().zip(to) {
            // A port that failed to link stays "used" for the neighbour's own check.
            if new != To::Unused {
                *slot = new;
            } else if *slot != To::Unused {
                *slot = To::Host(u16::MAX);
            }
        }
    }
}

/// Every node has one input, so a component without a source is a loop (or hangs off one).
fn report_loops(fabric: &Fabric, errors: &mut Errors) {
    // 0 unknown, 1 on the present walk, 2 done.
    let mut state = vec![0u8; fabric.nodes.len()];
    let mut walk = Vec::new();
    for start in 0..fabric.nodes.len() {
        let mut n = start;
        while state[n] == 0 {
            state[n] = 1;
            walk.push(n);
            match fabric.nodes[n].from {
                From::Node(up) => n = up as usize,
                _ => break,
            }
        }
        if state[n] == 1 && walk.last() != Some(&n) {
            let node = &fabric.nodes[n];
            let from = walk.iter().position(|&w| w == n).unwrap_or(0);
            let around: Vec<String> = walk[from..]
                .iter()
                .rev()
                .take(8)
                .map(|&w| {
                    let pe = fabric.sites[fabric.nodes[w].site as usize].pe;
                    format!("({}, {})", pe.x, pe.y)
                })
                .collect();
            errors.push(
                CheckError::new(
                    Rule::RouteLoop,
                    format!("the route returns here after {} routers: {} …", walk.len() - from, around.join(" -> ")),
                )
                .at(fabric.sites[node.site as usize].pe)
                .color(Color(node.color)),
            );
        }
        for &w in &walk {
            state[w] = 2;
        }
        walk.clear();
    }
}

/// Queue colors must have a route to or from the ramp, and ports one at the edge.
fn check_bindings(fabric: &Fabric, program: &Program, errors: &mut Errors) {
    for (ix, site) in fabric.sites.iter().enumerate() {
        let Some(region) = program.regions.get(site.region as usize) else { continue };
        for &color in region.in_colors.iter().flatten() {
            let node = fabric.node(ix as u32, color.0);
            if node.is_none_or(|n| fabric.nodes[n as usize].to[Port::Ramp as usize] == To::Unused) {
                errors.push(
                    CheckError::new(Rule::RouteSource, "an input queue has this color, but no route here ends at it")
                        .at(site.pe)
                        .color(color),
                );
            }
        }
        for &color in region.out_colors.iter().flatten() {
            let node = fabric.node(ix as u32, color.0);
            if node.is_none_or(|n| fabric.nodes[n as usize].rx != Port::Ramp) {
                errors.push(
                    CheckError::new(Rule::RouteSink, "an output queue has this color, but no route here starts at it")
                        .at(site.pe)
                        .color(color),
                );
            }
        }
    }
    let edge =
        |pe: Pe, color: Color| fabric.site(pe).and_then(|s| fabric.node(s, color.0)).map(|n| fabric.nodes[n as usize]);
    for (ix, p) in program.in_ports.iter().enumerate() {
        let pe = Pe { x: 0, y: p.row };
        if edge(pe, p.color).is_none_or(|n| n.rx != Port::West) {
            errors.push(
                CheckError::new(Rule::RouteSink, format!("input port {ix} sends here, but no route receives from it"))
                    .at(pe)
                    .color(p.color),
            );
        }
    }
    for (ix, p) in program.out_ports.iter().enumerate() {
        let pe = Pe { x: (fabric.width - 1) as u16, y: p.row };
        if edge(pe, p.color).is_none_or(|n| n.to[Port::East as usize] == To::Unused) {
            errors.push(
                CheckError::new(Rule::RouteSource, format!("output port {ix} receives here, but no route sends to it"))
                    .at(pe)
                    .color(p.color),
            );
        }
    }
}
