//! Convolution and pooling: windows over images.

use super::{Obstacle, Partitioner, Source};
use crate::kernels::{Conv, ConvTranspose, Enlarge, Geometry, Halo, Pool, PoolKind};
use crate::layout::Layout;
use quadrille_compiler::ir::{EpilogueStep, Node, Pool as IrPool, Window};
use quadrille_isa::numerics::f32_to_f16;
use std::sync::Arc;

/// The geometry of a window over one or two spatial axes; one axis is a row of pixels.
fn geometry(x: &[usize], out: &[usize], w: &Window) -> Result<Geometry, Obstacle> {
    let two = |v: &[usize], fill: usize| match *v {
        [q] => Some((fill, q)),
        [r, q] => Some((r, q)),
        _ => None,
    };
    let all = (|| {
        let ((h, wd), (kh, kw), (sh, sw)) = (two(&x[2..], 1)?, two(&w.kernel, 1)?, two(&w.stride, 1)?);
        let ((dh, dw), (top, left), (oh, ow)) = (two(&w.dilation, 1)?, two(&w.before, 0)?, two(&out[2..], 1)?);
        Some(Geometry { n: x[0], c: x[1], h, w: wd, kh, kw, sh, sw, dh, dw, top, left, oh, ow })
    })();
    all.ok_or_else(|| {
        Obstacle::new(
            format!("windows over {} spatial axes have no kernel; one and two have", x.len() - 2),
            "reshape the node to two spatial axes, or use --target tsp",
        )
    })
}

impl Partitioner<'_> {
    pub(super) fn conv(
        &mut self,
        node: &Node,
        window: &Window,
        groups: usize,
        epilogue: &[EpilogueStep],
    ) -> Result<Source, Obstacle> {
        let (x, w) = (node.inputs[0], node.inputs[1]);
        let weights = self.constant_f32(w).ok_or_else(|| {
            Obstacle::new("the weights are not constant", "export the model with its weights as initializers")
        })?;
        let shape = self.g.shape(x).to_vec();
        let out = self.g.shape(node.output).to_vec();
        let g = geometry(&shape, &out, window)?;
        let input = self.want(x, &Layout::image([g.n, g.c, g.h, g.w]))?;
        let m = out[1];
        let core = Conv {
            g,
            m,
            groups,
            weights: Arc::new(weights.iter().map(|&v| f32_to_f16(v)).collect()),
            bias: None,
            layout: Layout::image([g.n, m, g.oh, g.ow]),
            halo: Halo::default(),
            summed: 0..g.c / groups.max(1),
            adds: false,
        };
        let (_, source) = self.add(node, Box::new(core), vec![input]);
        self.epilogue(node, source, epilogue)
    }

    /// One whose windows do not overlap.
    pub(super) fn conv_transpose(
        &mut self,
        node: &Node,
        window: &Window,
        groups: usize,
        extra: &[usize],
    ) -> Result<Source, Obstacle> {
        let (x, w) = (node.inputs[0], node.inputs[1]);
        let padding = window.before.iter().chain(&window.after).chain(extra).any(|&n| n != 0);
        let apart = window.kernel == window.stride && window.dilation.iter().all(|&d| d == 1);
        let (shape, out) = (self.g.shape(x).to_vec(), self.g.shape(node.output).to_vec());
        let (&[n, c, h, wd], &[kh, kw]) = (&shape[..], &window.kernel[..]) else {
            return Err(Obstacle::new("it has not two spatial axes", "reshape the node, or use --target tsp"));
        };
        if groups != 1 || padding || !apart {
            return Err(Obstacle::new(
                "windows of a transposed convolution that overlap, are padded or have groups have no kernel",
                "use a kernel as large as its stride, or --target tsp",
            ));
        }
        let weights = self.constant_f32(w).ok_or_else(|| {
            Obstacle::new("the weights are not constant", "export the model with its weights as initializers")
        })?;
        let input = self.want(x, &Layout::image([n, c, h, wd]))?;
        let weights = Arc::new(weights.iter().map(|&v| f32_to_f16(v)).collect());
        let core = ConvTranspose::new([n, c, h, wd], out[1], [kh, kw], weights);
        Ok(self.add(node, Box::new(core), vec![input]).1)
    }

    /// Rows or columns of an image repeated, as an enlargement by whole factors is spelled.
    pub(super) fn enlarge(&mut self, node: &Node, out: &[usize]) -> Result<Source, Obstacle> {
        let x = node.inputs[0];
        let (dims, by) = match (self.g.shape(x), out) {
            (&[n, c, h, 1, w], &[.., k, same]) if out.len() == 5 && same == w && k > 1 => ([n, c, h, w], [k, 1]),
            (&[n, c, h, w, 1], &[.., same, k]) if out.len() == 5 && same == w && k > 1 => ([n, c, h, w], [1, k]),
            _ => {
                return Err(Obstacle::new(
                    "it repeats something else than rows or columns of images",
                    "use --target tsp",
                ));
            }
        };
        if dims[..3] != out[..3] || dims[3] == 1 {
            return Err(Obstacle::new("it repeats along other axes, too", "use --target tsp"));
        }
        let input = self.want(x, &Layout::image(dims))?;
        Ok(self.add(node, Box::new(Enlarge::new(dims, by)), vec![input]).1)
    }

    pub(super) fn pool(&mut self, node: &Node, kind: IrPool, window: &Window) -> Result<Source, Obstacle> {
        let x = node.inputs[0];
        let shape = self.g.shape(x).to_vec();
        let out = self.g.shape(node.output).to_vec();
        let g = geometry(&shape, &out, window)?;
        let input = self.want(x, &Layout::image([g.n, g.c, g.h, g.w]))?;
        let kind = match kind {
            IrPool::Max => PoolKind::Max,
            IrPool::AverageExcludePad => PoolKind::AverageInside,
            IrPool::AverageIncludePad => PoolKind::AverageAll,
        };
        let core = Pool::new(g, kind);
        Ok(self.add(node, Box::new(core), vec![input]).1)
    }
}
