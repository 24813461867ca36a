//! The few protobuf messages of a Perfetto trace that are needed, and a builder for them.
//!
//! Field numbers are those of the public trace format. Knows nothing of programs.

use prost::Message;
use std::collections::BTreeMap;

#[derive(Clone, PartialEq, Message)]
struct TraceProto {
    #[prost(message, repeated, tag = "1")]
    packet: Vec<Packet>,
}

#[derive(Clone, PartialEq, Message)]
struct Packet {
    #[prost(uint64, optional, tag = "8")]
    timestamp: Option<u64>,
    #[prost(uint32, tag = "10")]
    sequence: u32,
    #[prost(message, optional, tag = "11")]
    event: Option<TrackEvent>,
    #[prost(message, optional, tag = "12")]
    interned: Option<InternedData>,
    /// 1: incremental state starts here, 2: it is needed.
    #[prost(uint32, tag = "13")]
    flags: u32,
    #[prost(message, optional, tag = "60")]
    track: Option<TrackDescriptor>,
}

#[derive(Clone, PartialEq, Message)]
struct TrackDescriptor {
    #[prost(uint64, tag = "1")]
    uuid: u64,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(uint64, optional, tag = "5")]
    parent: Option<u64>,
    /// 3: children in the order of their ranks.
    #[prost(int32, optional, tag = "11")]
    child_ordering: Option<i32>,
    #[prost(int32, optional, tag = "12")]
    rank: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
struct TrackEvent {
    #[prost(message, repeated, tag = "4")]
    annotations: Vec<Annotation>,
    /// 1 begins a slice, 2 ends it.
    #[prost(int32, tag = "9")]
    kind: i32,
    #[prost(uint64, optional, tag = "10")]
    name: Option<u64>,
    #[prost(uint64, tag = "11")]
    track: u64,
}

#[derive(Clone, PartialEq, Message)]
struct Annotation {
    #[prost(string, tag = "6")]
    value: String,
    #[prost(string, tag = "10")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct InternedData {
    #[prost(message, repeated, tag = "2")]
    names: Vec<EventName>,
}

#[derive(Clone, PartialEq, Message)]
struct EventName {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(string, tag = "2")]
    name: String,
}

/// A track of the viewer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Track(u64);

/// A trace being built.
#[derive(Debug, Default)]
pub struct Trace {
    packets: Vec<Packet>,
    names: BTreeMap<String, u64>,
    tracks: u64,
    slices: usize,
}

const SEQUENCE: u32 = 1;

impl Trace {
    /// An empty trace.
    pub fn new() -> Trace {
        let start = Packet { sequence: SEQUENCE, flags: 1, ..Packet::default() };
        Trace { packets: vec![start], ..Trace::default() }
    }

    /// Adds a track, below another or at the top, in the order of the calls.
    pub fn track(&mut self, name: &str, parent: Option<Track>) -> Track {
        self.tracks += 1;
        let descriptor = TrackDescriptor {
            uuid: self.tracks,
            name: name.to_string(),
            parent: parent.map(|t| t.0),
            child_ordering: Some(3),
            rank: Some(self.tracks as i32),
        };
        self.packets.push(Packet { sequence: SEQUENCE, flags: 2, track: Some(descriptor), ..Packet::default() });
        Track(self.tracks)
    }

    /// Adds a slice from `start` to before `end`, with notes of name and value. Slices of one track
    /// must come in order and not overlap.
    pub fn slice(&mut self, track: Track, name: &str, start: u64, end: u64, notes: &[(&str, String)]) {
        let mut interned = None;
        let id = match self.names.get(name) {
            Some(&id) => id,
            None => {
                let id = self.names.len() as u64 + 1;
                self.names.insert(name.to_string(), id);
                interned = Some(InternedData { names: vec![EventName { id, name: name.to_string() }] });
                id
            }
        };
        let annotations = notes.iter().map(|(n, v)| Annotation { name: (*n).to_string(), value: v.clone() }).collect();
        let begin = TrackEvent { annotations, kind: 1, name: Some(id), track: track.0 };
        let finish = TrackEvent { annotations: Vec::new(), kind: 2, name: None, track: track.0 };
        self.event(start, begin, interned);
        self.event(end, finish, None);
        self.slices += 1;
    }

    fn event(&mut self, at: u64, event: TrackEvent, interned: Option<InternedData>) {
        self.packets.push(Packet {
            timestamp: Some(at),
            sequence: SEQUENCE,
            event: Some(event),
            interned,
            flags: 2,
            track: None,
        });
    }

    /// Number of slices so far.
    pub fn slices(&self) -> usize {
        self.slices
    }

    /// The file.
    pub fn encode(self) -> Vec<u8> {
        TraceProto { packet: self.packets }.encode_to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_begin_and_end_on_their_tracks() {
        let mut t = Trace::new();
        let unit = t.track("vxm", None);
        let queue = t.track("vxm.3", Some(unit));
        t.slice(queue, "conv1", 5, 9, &[("inst", "alu add".into())]);
        t.slice(queue, "conv1", 9, 10, &[]);
        assert_eq!(t.slices(), 2);
        let p = TraceProto::decode(t.encode().as_slice()).unwrap().packet;
        let tracks: Vec<_> =
            p.iter().filter_map(|p| p.track.as_ref()).map(|t| (t.uuid, t.name.as_str(), t.parent)).collect();
        assert_eq!(tracks, [(1, "vxm", None), (2, "vxm.3", Some(1))]);
        let events: Vec<_> = p
            .iter()
            .filter_map(|p| Some((p.timestamp?, p.event.as_ref()?)))
            .map(|(t, e)| (t, e.kind, e.name, e.track))
            .collect();
        assert_eq!(events, [(5, 1, Some(1), 2), (9, 2, None, 2), (9, 1, Some(1), 2), (10, 2, None, 2)]);
        let names: Vec<_> = p.iter().filter_map(|p| p.interned.as_ref()).flat_map(|i| i.names.clone()).collect();
        assert_eq!(names, [EventName { id: 1, name: "conv1".into() }], "a name is written once");
    }
}
