//! The table of rules, by theme.
//!
//! To add a rule: write it in its theme's file with a random example for its property test, add
//! it to that file's list, and run `QUADRILLE_BLESS=1 cargo test -p quadrille-compiler rules_page`.

mod activation;
mod algebra;
mod broadcast;
mod convolution;
mod epilogue;
mod fusion;
mod grouped;
mod layout;
mod merging;
mod norm;
mod rotary;
mod selection;
mod sinking;
mod softmax;
mod weighted;

use super::rule::Rule;

const COUNT: usize = algebra::RULES.len()
    + selection::RULES.len()
    + softmax::RULES.len()
    + rotary::RULES.len()
    + layout::RULES.len()
    + sinking::RULES.len()
    + broadcast::RULES.len()
    + convolution::RULES.len()
    + fusion::RULES.len()
    + epilogue::RULES.len()
    + activation::RULES.len()
    + merging::RULES.len()
    + norm::RULES.len()
    + weighted::RULES.len()
    + grouped::RULES.len();

/// Every rule; the order is that of application and of the documentation.
pub static TABLE: &[&Rule] = &collect();

const fn collect() -> [&'static Rule; COUNT] {
    let lists: [&'static [Rule]; 15] = [
        algebra::RULES,
        selection::RULES,
        softmax::RULES,
        rotary::RULES,
        layout::RULES,
        sinking::RULES,
        broadcast::RULES,
        convolution::RULES,
        fusion::RULES,
        epilogue::RULES,
        activation::RULES,
        merging::RULES,
        norm::RULES,
        weighted::RULES,
        grouped::RULES,
    ];
    let mut all = [&algebra::RULES[0]; COUNT];
    let (mut n, mut l) = (0, 0);
    while l < lists.len() {
        let mut i = 0;
        while i < lists[l].len() {
            all[n] = &lists[l][i];
            n += 1;
            i += 1;
        }
        l += 1;
    }
    all
}
