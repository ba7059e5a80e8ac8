//! How much of the written bytes a peer has acknowledged.

use std::io;
use std::os::fd::AsFd;

use nix::getsockopt_impl;
use nix::sys::socket::{GetSockOpt, sockopt::GetStruct};

/// What has become of the bytes written to a socket.
///
/// A successful write shows only that the kernel has room; the peer may have read nothing. Only acknowledgements show
/// what the peer has taken, and they come in steps: a receiver whose buffer was full announces room only for a whole
/// segment, or for a sixteenth of its buffer (RFC 9293, 3.8.6.2.2; `__tcp_select_window` in Linux).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delivery {
    /// Bytes that the peer's system has acknowledged, counted from an arbitrary start. It never decreases.
    pub taken: u64,
    /// Some written bytes are not acknowledged yet.
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

/// `SO_MEMINFO`: byte counts by kind (linux/sock_diag.h), the kernel's own overhead included.
type MemoryInfo = [u32; 9];
/// Bytes sent and not received: `SK_MEMINFO_WMEM_ALLOC`.
const SENT_MEMORY: usize = 2;

#[derive(Clone, Copy)]
struct MemoryInfoOption;
getsockopt_impl!(MemoryInfoOption, libc::SOL_SOCKET, libc::SO_MEMINFO, MemoryInfo, GetStruct<MemoryInfo>);

/// For a TCP stream.
pub(super) fn of_tcp(stream: &impl AsFd) -> io::Result<Delivery> {
    let info = TcpInfoOption.get(stream)?;
    let is_pending = number(&info, UNACKED_SEGMENTS) > 0 || number(&info, NOT_SENT_BYTES) > 0;
    Ok(Delivery { taken: bytes(&info, BYTES_ACKED).map_or(0, u64::from_ne_bytes), is_pending })
}

/// For a Unix stream socket, to which `written` bytes were written. On such a socket, acknowledged means read. The
/// kernel counts its own overhead among the bytes that were not read.
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
