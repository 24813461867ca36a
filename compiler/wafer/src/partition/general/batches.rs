//! A product of two computed matrices that is too large for one PE, batch by batch: the right
//! operand of one batch stays on a PE, and the rows of the left one are its rounds. Where that is too large still, several PEs
//! hold some of its columns each.

use super::super::{Obstacle, Partitioner, Source, axis_order, torn};
use super::Given;
use crate::kernels::{Concat, Core, MAX_INPUTS, Product, Slice};
use crate::layout::Layout;
use crate::streams::{Operand, StreamId};
use quadrille_compiler::ir::{Binary, DType, EpilogueStep, Op, Unary};

impl Partitioner<'_> {
    /// The product by batches; `None` for other nodes, and where that makes nothing smaller.
    pub(super) fn by_batches(
        &mut self,
        name: &str,
        op: &Op,
        given: &[Given],
        (dtype, shape): (DType, &[usize]),
    ) -> Result<Option<StreamId>, Obstacle> {
        let Op::MatMul { epilogue } = op else { return Ok(None) };
        let r = shape.len();
        let count: usize = shape[..r - 2].iter().product();
        let whole = |g: &Given| {
            let b: usize = g.shape[..g.shape.len() - 2].iter().product();
            b == 1 || b == count
        };
        if dtype != DType::F32 || !given[..2].iter().all(whole) {
            return Ok(None);
        }
        let mut parts = Vec::new();
        for b in 0..count {
            let mut operands: Vec<Given> =
                given[..2].iter().map(|g| self.batch(name, g, b)).collect::<Result<_, _>>()?;
            let out = [1, shape[r - 2], shape[r - 1]];
            let on_one = match count {
                1 => None,
                _ => self.batch_on_one(&format!("{name}#{b}"), &mut operands, &out).ok(),
            };
            let Some(id) = on_one.or_else(|| self.batch_on_several(name, &operands)) else { return Ok(None) };
            parts.push(given_stream(id, dtype, out.to_vec()));
        }
        let mut id = self.stacked(name, &parts, [shape[r - 2], shape[r - 1]]);
        let mut extra = given[2..].iter();
        for s in epilogue {
            let mut args = vec![given_stream(id, dtype, shape.to_vec())];
            let op = match s {
                EpilogueStep::Add => Op::Binary(Binary::Add),
                EpilogueStep::Mul => Op::Binary(Binary::Mul),
                EpilogueStep::Prelu => Op::Binary(Binary::Prelu),
                EpilogueStep::Relu => Op::Unary(Unary::Relu),
                EpilogueStep::Sigmoid => Op::Unary(Unary::Sigmoid),
                EpilogueStep::Tanh => Op::Unary(Unary::Tanh),
                _ => return Ok(None),
            };
            if s.takes_operand() {
                args.extend(extra.next().cloned());
            }
            id = self.general_op(name, &op, &args, (dtype, shape), None)?;
        }
        Ok(Some(id))
    }

    /// A batch on a PE that holds all of its right operand.
    fn batch_on_one(&mut self, name: &str, operands: &mut [Given], out: &[usize]) -> Result<StreamId, Obstacle> {
        let dtype = DType::F32;
        // The rows wait until the other operand has come: on a PE that takes them whole, if one
        // can, so that what both are made of goes on.
        let rows = operands[0].shape.clone();
        let hold = Op::Reshape { shape: rows.clone() };
        if operands[0].stream().is_some()
            && let Ok(id) = self.general_op(name, &hold, &operands[..1], (dtype, &rows), None)
        {
            operands[0] = given_stream(id, dtype, rows);
        }
        let plain = Op::MatMul { epilogue: Vec::new() };
        self.general_op(name, &plain, operands, (dtype, out), None)
    }

    /// A batch on PEs that hold some columns of its right operand each; `None` where operands come in another order.
    fn batch_on_several(&mut self, name: &str, operands: &[Given]) -> Option<StreamId> {
        let [x, y] = operands else { return None };
        let (&[.., rows, k], &[.., n]) = (&x.shape[..], &y.shape[..]) else { return None };
        if x.stream() == y.stream() {
            return None;
        }
        let mut arrive = Vec::new();
        for g in [x, y] {
            let Source::Stream { id, views, .. } = &g.source else { return None };
            self.settle(*id, views, &g.shape);
            arrive.push((*id, self.order_of(*id, views)?));
        }
        let fits = |by_column| {
            let core = Product::new([rows, k, n], by_column);
            let orders = core.orders();
            arrive.iter().zip(&orders).all(|((_, a), o)| a.same_order(o)).then_some((core, orders))
        };
        let (core, orders) = fits(true).or_else(|| fits(false))?;
        let inputs = arrive.iter().zip(orders).map(|(&(stream, _), layout)| Operand { stream, layout });
        Some(self.out.add_kernel(name, Box::new(core), inputs.collect(), vec![1, rows, n]).1)
    }

    /// The results of the batches, one after the other as they stream.
    fn stacked(&mut self, name: &str, parts: &[Given], [rows, columns]: [usize; 2]) -> StreamId {
        let parts: Vec<(StreamId, usize)> = parts.iter().filter_map(|p| Some((p.stream()?, p.shape[0]))).collect();
        if let [(id, _)] = parts[..] {
            return id;
        }
        let joined: Vec<Given> = parts
            .chunks(MAX_INPUTS)
            .map(|some| {
                let extents: Vec<usize> = some.iter().map(|&(_, n)| n).collect();
                let shape = vec![extents.iter().sum(), rows, columns];
                let core = Concat {
                    outer: 1,
                    runs: extents.iter().map(|n| n * rows).collect(),
                    run: columns,
                    lead: 1,
                    extents: extents.clone(),
                    tail: rows * columns,
                    layout: Layout::row_major(&shape),
                };
                let operand = |&(stream, n): &(StreamId, usize)| {
                    let layout = Layout::row_major(&[n, rows, columns]);
                    Operand { stream, layout }
                };
                let operands = some.iter().map(operand).collect();
                let (_, id) = self.out.add_kernel(name, Box::new(core), operands, shape.clone());
                given_stream(id, DType::F32, shape)
            })
            .collect();
        self.stacked(name, &joined, [rows, columns])
    }

    /// One batch of an operand.
    fn batch(&mut self, name: &str, g: &Given, b: usize) -> Result<Given, Obstacle> {
        let n = g.shape.len();
        let count: usize = g.shape[..n - 2].iter().product();
        let flat = Given { shape: vec![count, g.shape[n - 2], g.shape[n - 1]], ..g.clone() };
        if count == 1 {
            return Ok(flat);
        }
        let out = vec![1, flat.shape[1], flat.shape[2]];
        let Source::Stream { id, views, .. } = &flat.source else {
            let op = Op::Slice { start: vec![b, 0, 0], step: vec![1; 3], shape: out.clone() };
            let Source::Constant(t) = &flat.source else { return Err(torn()) };
            let whole = quadrille_compiler::ir::eval::eval_op(&Op::Reshape { shape: flat.shape.clone() }, &[t])
                .and_then(|t| quadrille_compiler::ir::eval::eval_op(&op, &[&t]))
                .map_err(|e| Obstacle::new(format!("a constant cannot be computed: {e}"), "check the model"))?;
            return Ok(Given { shape: out, source: Source::Constant(whole), ..flat });
        };
        self.settle(*id, views, &flat.shape);
        let arrives = self.order_of(*id, views).ok_or_else(torn)?;
        let order = axis_order(&arrives, &flat.shape).unwrap_or_else(|| vec![0, 1, 2]);
        let core = Slice {
            shape: flat.shape.clone(),
            start: vec![b, 0, 0],
            step: vec![1; 3],
            out_shape: out.clone(),
            layout: Layout::axes(&out, &order),
            order: order.clone(),
        }
        .in_fitting_blocks();
        if let Some(o) = core.obstacle() {
            return Err(Obstacle::new(o, "slice one axis after the other, or use --target tsp"));
        }
        let wanted = Layout::axes(&flat.shape, &order);
        if !arrives.same_order(&wanted) {
            return Err(torn());
        }
        let operand = Operand { stream: *id, layout: wanted };
        let core: Box<dyn Core> = Box::new(core);
        let (_, part) = self.out.add_kernel(&format!("{name}#{b}"), core, vec![operand], out.clone());
        Ok(given_stream(part, g.dtype, out))
    }
}

fn given_stream(id: StreamId, dtype: DType, shape: Vec<usize>) -> Given {
    Given { dtype, shape, source: Source::Stream { id, views: Vec::new(), solo: false }, range: None }
}
