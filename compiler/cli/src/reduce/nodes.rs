//! Which of the nodes are needed: halves first, then ever smaller pieces.

/// The smallest of the halves, quarters, … of a list that fails alone; the list itself if none does.
pub(super) fn bisect(mut kept: Vec<usize>, fails: &mut dyn FnMut(&[usize]) -> bool) -> Vec<usize> {
    let mut parts = 2;
    while parts <= kept.len() {
        let size = kept.len().div_ceil(parts);
        match kept.chunks(size).find(|c| fails(c)).map(<[usize]>::to_vec) {
            Some(c) => {
                kept = c;
                parts = 2;
            }
            // Small parts fail alone only where one node does, which `minimise` finds too.
            None if parts >= 16 => break,
            None => parts *= 2,
        }
    }
    kept
}

/// A list that fails, of which no item can be left out.
pub(super) fn minimise(mut kept: Vec<usize>, fails: &mut dyn FnMut(&[usize]) -> bool) -> Vec<usize> {
    let mut size = kept.len().div_ceil(2);
    while size > 0 && kept.len() > 1 {
        let (mut start, mut smaller) = (0, false);
        while start < kept.len() {
            let end = (start + size).min(kept.len());
            let rest: Vec<usize> = [&kept[..start], &kept[end..]].concat();
            if !rest.is_empty() && fails(&rest) {
                kept = rest;
                smaller = true;
            } else {
                start = end;
            }
        }
        match (size, smaller) {
            (1, false) => break,
            (1, true) => {}
            _ => size = size.div_ceil(2),
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_is_needed_together() {
        for needed in [vec![17], vec![3, 90], vec![0, 50, 99], vec![98, 99]] {
            let mut tried = 0;
            let mut fails = |kept: &[usize]| {
                tried += 1;
                needed.iter().all(|n| kept.contains(n))
            };
            let start = bisect((0..100).collect(), &mut fails);
            assert_eq!(minimise(start, &mut fails), needed);
            assert!(tried < 200, "{tried} trials for {needed:?}");
        }
    }
}
