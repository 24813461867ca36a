//! Which PEs are in which class, and which classes lie on each side of a class's members.
//!
//! Knows places and links; knows nothing of what PEs do.

use super::super::super::fabric::NONE;

/// Port of the other end of a link: N, E, S, W.
pub(super) fn across(side: usize) -> usize {
    side ^ 2
}

/// Sites in classes.
#[derive(Debug, Default)]
pub(super) struct Partition {
    class_of: Vec<u32>,
    /// Place of each site among its class's members.
    place: Vec<u32>,
    members: Vec<Vec<u32>>,
    /// By site and side, the site at the other end of a link.
    near: Vec<[u32; 4]>,
    /// By class and side, the classes there, and of how many members.
    around: Vec<[Vec<(u32, u32)>; 4]>,
}

fn add(list: &mut Vec<(u32, u32)>, class: u32) {
    match list.iter_mut().find(|(c, _)| *c == class) {
        Some((_, n)) => *n += 1,
        None => list.push((class, 1)),
    }
}

fn take(list: &mut Vec<(u32, u32)>, class: u32) {
    if let Some(at) = list.iter().position(|&(c, _)| c == class) {
        list[at].1 -= 1;
        if list[at].1 == 0 {
            list.swap_remove(at);
        }
    }
}

impl Partition {
    /// Sites in these classes, linked to these neighbours.
    pub(super) fn new(class_of: Vec<u32>, classes: usize, near: Vec<[u32; 4]>) -> Partition {
        let mut p = Partition {
            place: vec![0; class_of.len()],
            members: vec![Vec::new(); classes],
            around: vec![Default::default(); classes],
            class_of,
            near,
        };
        for (site, &class) in p.class_of.iter().enumerate() {
            let members = &mut p.members[class as usize];
            p.place[site] = members.len() as u32;
            members.push(site as u32);
            for (side, &other) in p.near[site].iter().enumerate() {
                if other != NONE {
                    add(&mut p.around[class as usize][side], p.class_of[other as usize]);
                }
            }
        }
        p
    }

    /// By site.
    pub(super) fn class_of(&self) -> &[u32] {
        &self.class_of
    }

    pub(super) fn classes(&self) -> usize {
        self.members.len()
    }

    pub(super) fn members(&self, class: u32) -> &[u32] {
        &self.members[class as usize]
    }

    /// Classes on one side of a class's members, and of how many of them.
    pub(super) fn around(&self, class: u32, side: usize) -> &[(u32, u32)] {
        &self.around[class as usize][side]
    }

    /// Members whose neighbours on one side are in these classes.
    pub(super) fn beside(&self, class: u32, side: usize, others: &[u32]) -> Vec<u32> {
        let all: usize = others.iter().map(|&o| self.members(o).len()).sum();
        let mut found: Vec<u32> = match all < self.members(class).len() {
            true => {
                let back = |&m: &u32| self.near[m as usize][across(side)];
                let of = |&m: &u32| m != NONE && self.class_of[m as usize] == class;
                others.iter().flat_map(|&o| self.members(o)).map(back).filter(of).collect()
            }
            false => {
                let of = |&&m: &&u32| {
                    let other = self.near[m as usize][side];
                    other != NONE && others.contains(&self.class_of[other as usize])
                };
                self.members(class).iter().filter(of).copied().collect()
            }
        };
        found.sort_unstable();
        found
    }

    /// Makes sites members of another class, a new one when it is the next number.
    pub(super) fn shift(&mut self, sites: &[u32], to: u32) {
        if to as usize == self.members.len() {
            self.members.push(Vec::new());
            self.around.push(Default::default());
        }
        for &site in sites {
            let (s, class) = (site as usize, self.class_of[site as usize]);
            for side in 0..4 {
                let other = self.near[s][side];
                if other != NONE && other != site {
                    let its = self.class_of[other as usize];
                    take(&mut self.around[class as usize][side], its);
                    add(&mut self.around[to as usize][side], its);
                    let list = &mut self.around[its as usize][across(side)];
                    take(list, class);
                    add(list, to);
                }
            }
            let place = self.place[s] as usize;
            let members = &mut self.members[class as usize];
            members.swap_remove(place);
            if let Some(&moved) = members.get(place) {
                self.place[moved as usize] = place as u32;
            }
            self.class_of[s] = to;
            self.place[s] = self.members[to as usize].len() as u32;
            self.members[to as usize].push(site);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line of sites, linked both ways.
    fn line(class_of: Vec<u32>) -> Partition {
        let n = class_of.len() as u32;
        let near = (0..n).map(|s| [NONE, if s + 1 < n { s + 1 } else { NONE }, NONE, s.wrapping_sub(1)]).collect();
        let classes = class_of.iter().max().map_or(0, |&c| c as usize + 1);
        Partition::new(class_of, classes, near)
    }

    fn sorted(list: &[(u32, u32)]) -> Vec<(u32, u32)> {
        let mut list = list.to_vec();
        list.sort_unstable();
        list
    }

    #[test]
    fn sides_are_counted_through_shifts() {
        let mut p = line(vec![0, 1, 1, 1, 2]);
        assert_eq!(sorted(p.around(1, 3)), [(0, 1), (1, 2)]);
        assert_eq!(p.beside(1, 3, &[0]), [1]);
        p.shift(&[1], 3);
        for (ends, k) in [(vec![0u32, 3, 1, 1, 2], 4), (vec![0, 3, 1, 3, 2], 4), (vec![0, 0, 1, 0, 2], 4)] {
            let fresh = line(ends.clone());
            for class in 0..fresh.classes() as u32 {
                assert_eq!(p.members(class).len(), fresh.members(class).len());
                for side in 0..4 {
                    assert_eq!(sorted(p.around(class, side)), sorted(fresh.around(class, side)), "{ends:?}");
                }
            }
            assert_eq!(p.classes(), k);
            match ends[3] {
                1 => p.shift(&[3], 3),
                _ => p.shift(&[3, 1], 0),
            }
        }
    }
}
