//! The first rule application after which a model is wrong.
//!
//! Knows how to search through the applications of a rewrite, in their order. Must not know what
//! wrong means.

use crate::failure::Failure;

/// What is known of the graph after some applications.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// Why it is wrong; `None` when it is not.
    pub wrong: Option<String>,
    /// Cycles, when they were asked for.
    pub cycles: Option<u64>,
}

/// Where the applications become wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Found {
    /// With all of them nothing is wrong.
    NothingWrong(Verdict),
    /// It is wrong without any, and nothing in between was right.
    WrongFromTheStart(Verdict),
    /// It is right after `application` - 1 of them and wrong after `application`.
    First {
        /// Its number, from 1.
        application: usize,
        /// After the one before.
        before: Verdict,
        /// After it.
        after: Verdict,
    },
}

/// Parts of the way at which something right is looked for, when the start is wrong.
const SAMPLES: usize = 16;

/// Looks for the border between right and wrong among `total` applications. There may be more
/// than one border; that of the first right place that halving meets is found.
pub fn search(total: usize, mut judge: impl FnMut(usize) -> Result<Verdict, Failure>) -> Result<Found, Failure> {
    let end = judge(total)?;
    if end.wrong.is_none() {
        return Ok(Found::NothingWrong(end));
    }
    let start = judge(0)?;
    let mut right = None;
    if start.wrong.is_none() {
        right = Some((0, start.clone()));
    } else {
        let mut tried = 0;
        for n in (1..SAMPLES).map(|i| total * i / SAMPLES).filter(|&n| n > 0) {
            if n == tried {
                continue;
            }
            tried = n;
            let v = judge(n)?;
            if v.wrong.is_none() {
                right = Some((n, v));
                break;
            }
        }
    }
    let Some((mut low, mut before)) = right else { return Ok(Found::WrongFromTheStart(start)) };
    let (mut high, mut after) = (total, end);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        let v = judge(middle)?;
        if v.wrong.is_some() {
            (high, after) = (middle, v);
        } else {
            (low, before) = (middle, v);
        }
    }
    Ok(Found::First { application: high, before, after })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(wrong: bool) -> Verdict {
        Verdict { wrong: wrong.then(|| "w".to_string()), cycles: None }
    }

    #[test]
    fn the_border_is_found_wherever_it_is() {
        for total in 1..40 {
            for border in 1..=total {
                let mut asked = 0;
                let found = search(total, |n| {
                    asked += 1;
                    Ok(verdict(n >= border))
                });
                let (before, after) = (verdict(false), verdict(true));
                assert_eq!(found.unwrap(), Found::First { application: border, before, after });
                assert!(asked <= 9, "{asked} graphs for {total} applications");
            }
        }
    }

    #[test]
    fn a_wrong_start_and_a_right_end_are_told() {
        assert_eq!(search(9, |n| Ok(verdict(n < 9))).unwrap(), Found::NothingWrong(verdict(false)));
        assert_eq!(search(9, |_| Ok(verdict(true))).unwrap(), Found::WrongFromTheStart(verdict(true)));
        // Wrong at both ends, right in the middle.
        let found = search(100, |n| Ok(verdict(!(30..60).contains(&n)))).unwrap();
        assert_eq!(found, Found::First { application: 60, before: verdict(false), after: verdict(true) });
    }

    #[test]
    fn a_failure_of_the_judge_is_passed_on() {
        assert!(search(9, |_| Err(Failure::wrong("no"))).is_err());
    }
}
