//! Loops over operands that broadcast like numpy.
//!
//! Knows strides; knows no arithmetic.

/// Row-major strides of `shape` seen as an operand of result shape `out`: 0 along the axes that
/// it is repeated over.
pub(super) fn strides_in(shape: &[usize], out: &[usize]) -> Vec<usize> {
    let mut strides = vec![0; out.len()];
    let lead = out.len() - shape.len();
    let mut step = 1;
    for i in (0..shape.len()).rev() {
        if shape[i] != 1 {
            strides[lead + i] = step;
        }
        step *= shape[i];
    }
    strides
}

/// A loop nest over two operands, axes merged where both allow it, innermost axis last.
pub(super) struct Nest {
    extents: Vec<usize>,
    a: Vec<usize>,
    b: Vec<usize>,
}

impl Nest {
    /// The nest for operands of these shapes and a result of shape `out`.
    pub(super) fn new(a: &[usize], b: &[usize], out: &[usize]) -> Nest {
        let (sa, sb) = (strides_in(a, out), strides_in(b, out));
        let mut nest = Nest { extents: Vec::new(), a: Vec::new(), b: Vec::new() };
        for i in 0..out.len() {
            if out[i] == 1 {
                continue;
            }
            // An axis joins the one outside it when stepping that one equals running through this one.
            if let Some(last) = nest.extents.len().checked_sub(1)
                && nest.a[last] == sa[i] * out[i]
                && nest.b[last] == sb[i] * out[i]
            {
                nest.extents[last] *= out[i];
                nest.a[last] = sa[i];
                nest.b[last] = sb[i];
            } else {
                nest.extents.push(out[i]);
                nest.a.push(sa[i]);
                nest.b.push(sb[i]);
            }
        }
        if nest.extents.is_empty() {
            nest.extents.push(1);
            nest.a.push(1);
            nest.b.push(1);
        }
        nest
    }

    /// Calls `run(offset_a, step_a, offset_b, step_b, count)` for each innermost run, in order; steps
    /// are 0 or 1.
    pub(super) fn runs(&self, mut run: impl FnMut(usize, usize, usize, usize, usize)) {
        let inner = self.extents.len() - 1;
        if self.extents.contains(&0) {
            return;
        }
        let mut index = vec![0usize; inner];
        let (mut oa, mut ob) = (0, 0);
        loop {
            run(oa, self.a[inner], ob, self.b[inner], self.extents[inner]);
            let mut axis = inner;
            loop {
                if axis == 0 {
                    return;
                }
                axis -= 1;
                index[axis] += 1;
                oa += self.a[axis];
                ob += self.b[axis];
                if index[axis] < self.extents[axis] {
                    break;
                }
                oa -= self.a[axis] * index[axis];
                ob -= self.b[axis] * index[axis];
                index[axis] = 0;
            }
        }
    }
}

/// An operand seen as the result's elements in order, from any of them on.
pub(super) struct Spread {
    extents: Vec<usize>,
    strides: Vec<usize>,
}

impl Spread {
    /// For an operand of a shape and a result of shape `out`.
    pub(super) fn new(shape: &[usize], out: &[usize]) -> Spread {
        let nest = Nest::new(shape, shape, out);
        Spread { extents: nest.extents, strides: nest.a }
    }

    /// Writes elements of `size` bytes from the result's element `start` on, as many as `to` holds.
    pub(super) fn fill(&self, from: &[u8], size: usize, start: usize, to: &mut [u8]) {
        match size {
            1 => self.copy::<u8>(from, start, to),
            2 => self.copy::<u16>(from, start, to),
            4 => self.copy::<u32>(from, start, to),
            _ => self.copy::<u64>(from, start, to),
        }
    }

    fn copy<T: bytemuck::Pod>(&self, from: &[u8], start: usize, to: &mut [u8]) {
        let (from, mut to) = (bytemuck::cast_slice::<u8, T>(from), bytemuck::cast_slice_mut::<u8, T>(to));
        let inner = self.extents.len() - 1;
        let mut index = vec![0; inner + 1];
        let mut rest = start;
        for i in (0..=inner).rev() {
            index[i] = rest % self.extents[i];
            rest /= self.extents[i];
        }
        while !to.is_empty() {
            let base: usize = index.iter().zip(&self.strides).map(|(i, s)| i * s).sum();
            let (run, tail) = to.split_at_mut(to.len().min(self.extents[inner] - index[inner]));
            // Steps of the innermost axis are 0 or 1.
            if self.strides[inner] == 0 {
                run.fill(from[base])
            } else {
                run.copy_from_slice(&from[base..][..run.len()])
            }
            to = tail;
            index[inner] = 0;
            for i in (0..inner).rev() {
                index[i] += 1;
                if index[i] < self.extents[i] {
                    break;
                }
                index[i] = 0;
            }
        }
    }
}

/// `f` in place over `a`, which has the result's shape, with a second operand that broadcasts.
pub(super) fn update2<T: Copy>(a: &mut [T], shape: &[usize], b: &[T], b_shape: &[usize], f: impl Fn(T, T) -> T) {
    Nest::new(shape, b_shape, shape).runs(|oa, _, ob, sb, n| {
        let a = &mut a[oa..oa + n];
        if sb == 1 {
            a.iter_mut().zip(&b[ob..ob + n]).for_each(|(x, &y)| *x = f(*x, y));
        } else {
            let y = b[ob];
            a.iter_mut().for_each(|x| *x = f(*x, y));
        }
    });
}
