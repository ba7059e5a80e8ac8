//! Test doubles: what a test builds instead of a CA, a network or a disk of the real world.

mod certificates;
mod peer;

pub(crate) use certificates::{
    Clock, DAY, Handshaken, NOW, TestPki, client_config, files_of, handshake, leaf, sessions,
    sessions_in_small_records, sessions_over, source,
};
pub(crate) use peer::TestPeer;
