//! Header and section table.

use super::{ContainerError, MAGIC, VERSION};
use crate::wire::{Reader, Writer};
use bytes::Bytes;

/// Alignment of sections, the smallest page in use.
const PAGE: usize = 4096;
const HEADER_BYTES: usize = 32;
const ENTRY_BYTES: usize = 32;
/// As many as fit into page 0 with room to spare.
const MAX_SECTIONS: u32 = 64;

pub(super) const TARGET_TSP: u32 = 1;
pub(super) const TARGET_WAFER: u32 = 2;

/// What a section holds: (kind, version, name). Numbers are never reused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Kind(u32, u32, pub(super) &'static str);

/// Names, tensors and layouts (protobuf), of either target.
pub(super) const META: Kind = Kind(1, 1, "meta");
pub(super) const QUEUES: Kind = Kind(2, 1, "queues");
pub(super) const CODE: Kind = Kind(3, 1, "code");
pub(super) const ISSUE_NODES: Kind = Kind(4, 1, "issue nodes");
pub(super) const PROVENANCE: Kind = Kind(5, 1, "provenance");
pub(super) const MEMORY: Kind = Kind(6, 1, "memory provenance");
pub(super) const MAPS: Kind = Kind(7, 1, "maps");
pub(super) const IMAGE_TABLE: Kind = Kind(8, 1, "image table");
pub(super) const IMAGE: Kind = Kind(9, 1, "image");
pub(super) const MESH_CODE: Kind = Kind(16, 2, "mesh code");
pub(super) const DATA_TABLE: Kind = Kind(17, 1, "data table");
pub(super) const DATA: Kind = Kind(18, 1, "data");

const ALL: [Kind; 12] =
    [META, QUEUES, CODE, ISSUE_NODES, PROVENANCE, MEMORY, MAPS, IMAGE_TABLE, IMAGE, MESH_CODE, DATA_TABLE, DATA];

/// Joins sections into a container.
pub(super) fn join(target: u32, sections: &[(Kind, Vec<u8>)]) -> Vec<u8> {
    let aligned = |n: usize| n.div_ceil(PAGE) * PAGE;
    let total = sections.iter().fold(PAGE, |at, (_, s)| aligned(at) + s.len());
    let mut w = Writer(Vec::with_capacity(aligned(total)));
    w.0.extend(MAGIC);
    w.u32(VERSION);
    w.u32(target);
    w.u32(sections.len() as u32);
    w.u32(0);
    w.u64(total as u64);
    let mut at = PAGE;
    for (kind, s) in sections {
        at = aligned(at);
        w.u32(kind.0);
        w.u32(kind.1);
        w.u64(at as u64);
        w.u64(s.len() as u64);
        w.u64(0);
        at += s.len();
    }
    w.0.resize(PAGE, 0);
    for (_, s) in sections {
        w.0.resize(aligned(w.0.len()), 0);
        w.0.extend(s);
    }
    w.0
}

/// A parsed header: the sections as slices of the file.
pub(super) struct Sections {
    target: u32,
    sections: Vec<(Kind, Bytes)>,
}

impl Sections {
    pub(super) fn parse(bytes: &Bytes) -> Result<Sections, ContainerError> {
        if !bytes.starts_with(&MAGIC) {
            return Err(ContainerError::Magic);
        }
        let header = |reason: &str| ContainerError::Header(reason.to_string());
        let mut r = Reader::new(bytes);
        r.at = MAGIC.len();
        let version = r.u32().map_err(header)?;
        if version != VERSION {
            return Err(ContainerError::Version { what: "the container".into(), found: version, known: VERSION });
        }
        let target = r.u32().map_err(header)?;
        let count = r.u32().map_err(header)?;
        let zero = r.u32().map_err(header)?;
        let total = r.u64().map_err(header)?;
        if total != bytes.len() as u64 {
            return Err(ContainerError::Header(format!("{total} bytes announced, the file has {}", bytes.len())));
        }
        if zero != 0 || count > MAX_SECTIONS {
            return Err(header("section count or reserved field out of range"));
        }
        let mut end = (HEADER_BYTES + ENTRY_BYTES * count as usize) as u64;
        let mut sections: Vec<(Kind, Bytes)> = Vec::new();
        for _ in 0..count {
            let (number, version) = (r.u32().map_err(header)?, r.u32().map_err(header)?);
            let (offset, len) = (r.u64().map_err(header)?, r.u64().map_err(header)?);
            let zero = r.u64().map_err(header)?;
            let Some(&kind) = ALL.iter().find(|k| k.0 == number) else {
                return Err(ContainerError::Header(format!("section kind {number} is not known to this build")));
            };
            let bad = |reason: &str| ContainerError::Section { section: kind.2, reason: reason.to_string() };
            if version != kind.1 {
                let what = format!("section {}", kind.2);
                return Err(ContainerError::Version { what, found: version, known: kind.1 });
            }
            let stop = offset.checked_add(len).filter(|&s| s <= total).ok_or_else(|| bad("reaches beyond the file"))?;
            if offset % PAGE as u64 != 0 || offset < end || zero != 0 {
                return Err(bad("is not aligned, not in order, or its reserved field is not zero"));
            }
            if sections.iter().any(|(k, _)| *k == kind) {
                return Err(bad("is there twice"));
            }
            end = stop;
            // Within the file, so within `usize`.
            sections.push((kind, bytes.slice(offset as usize..stop as usize)));
        }
        Ok(Sections { target, sections })
    }

    pub(super) fn target(&self) -> u32 {
        self.target
    }

    /// A section that must be there.
    pub(super) fn get(&self, kind: Kind) -> Result<&Bytes, ContainerError> {
        match self.sections.iter().find(|(k, _)| *k == kind) {
            Some((_, bytes)) => Ok(bytes),
            None => Err(ContainerError::Section { section: kind.2, reason: "is missing".into() }),
        }
    }

    /// A section that is a table of records of `size` bytes: a reader for each record.
    pub(super) fn table(&self, kind: Kind, size: usize) -> Result<impl Iterator<Item = Reader<'_>>, ContainerError> {
        let bytes = self.get(kind)?;
        if !bytes.len().is_multiple_of(size) {
            return Err(kind.bad(format!("{} bytes are no whole number of {size}-byte records", bytes.len())));
        }
        Ok(bytes.chunks_exact(size).map(Reader::new))
    }
}

impl Kind {
    /// An error of this section.
    pub(super) fn bad(self, reason: impl Into<String>) -> ContainerError {
        ContainerError::Section { section: self.2, reason: reason.into() }
    }
}
