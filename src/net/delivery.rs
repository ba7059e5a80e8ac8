//! How far a socket has got rid of what was written to it.

use std::io;
use std::os::fd::AsFd;

use nix::getsockopt_impl;
use nix::sys::socket::{GetSockOpt, sockopt::GetStruct};

/// What has become of the bytes that a socket has taken.
///
/// A write that succeeds says only that the kernel has room; the peer may have read none of it. What the peer has taken
/// is known by acknowledgements alone, and those come in steps: a receiver whose buffer was full announces room only
/// for a whole segment, or for a sixteenth of its buffer (RFC 9293, 3.8.6.2.2; `__tcp_select_window` in Linux).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delivery {
    /// Bytes that the peer's system has acknowledged, counted from anywhere: it never decreases.
    pub taken: u64,
    /// Some that were written are not acknowledged yet.
    pub is_pending: bool,
}

/// The head of `struct tcp_info` (linux/tcp.h), up to `tcpi_notsent_bytes`, which Linux has since 4.6.
type TcpInfo = [u8; 148];
/// Offsets in it.
const UNACKED_SEGMENTS: usize = 24;
const BYTES_ACKED: usize = 120;
const NOT_SENT_BYTES: usize = 144;

#[derive(Clone, Copy)]
struct TcpInfoOption;
getsockopt_impl!(TcpInfoOption, libc::IPPROTO_TCP, libc::TCP_INFO, TcpInfo, GetStruct<TcpInfo>);

/// `SO_MEMINFO`: counts of bytes by kind (linux/sock_diag.h), the bookkeeping of the kernel included.
type MemoryInfo = [u32; 9];
/// What is sent and not received: `SK_MEMINFO_WMEM_ALLOC`.
const SENT_MEMORY: usize = 2;

#[derive(Clone, Copy)]
struct MemoryInfoOption;
getsockopt_impl!(MemoryInfoOption, libc::SOL_SOCKET, libc::SO_MEMINFO, MemoryInfo, GetStruct<MemoryInfo>);

/// Of a TCP stream.
pub(super) fn of_tcp(stream: &impl AsFd) -> io::Result<Delivery> {
    let info = TcpInfoOption.get(stream)?;
    let is_pending = number(&info, UNACKED_SEGMENTS) > 0 || number(&info, NOT_SENT_BYTES) > 0;
    Ok(Delivery { taken: bytes(&info, BYTES_ACKED).map_or(0, u64::from_ne_bytes), is_pending })
}

/// Of a stream over a Unix socket, to which `written` bytes were written. There, what is taken is read, but the kernel
/// counts its own bookkeeping among what is not.
pub(super) fn of_unix(stream: &impl AsFd, written: u64) -> io::Result<Delivery> {
    let unread = MemoryInfoOption.get(stream)?.get(SENT_MEMORY).copied().unwrap_or(0);
    Ok(Delivery { taken: written.saturating_sub(unread.into()), is_pending: unread > 0 })
}

fn number(info: &TcpInfo, at: usize) -> u32 {
    bytes(info, at).map_or(0, u32::from_ne_bytes)
}

fn bytes<const N: usize>(info: &TcpInfo, at: usize) -> Option<[u8; N]> {
    info.get(at..at + N)?.try_into().ok()
}
