//! A pair of sockets that keeps message borders and carries descriptors.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

/// The most descriptors one packet may carry.
pub const FDS_MAX: usize = 27;

/// The longest packet. Well below the kernel's default socket buffer, so a send to an idle peer never waits.
pub const PACKET_BYTES_MAX: usize = 64 << 10;

/// Two connected ends, closed on exec.
///
/// # Errors
/// When the kernel has no descriptor left.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

/// Sends one packet, without ever waiting and without SIGPIPE.
///
/// # Errors
/// `WouldBlock` when the other side does not read, `BrokenPipe` when it is gone.
pub fn send(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "too many descriptors for one packet",
        ));
    }
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut control, flags)?;
    Ok(())
}

/// Room for the packet that is received next, and not for the longest: to touch sixteen pages of it would cost a process
/// that has just started, or a fork server, more than all the rest of its message.
fn room_for_next(socket: impl AsFd, flags: RecvFlags) -> io::Result<Vec<u8>> {
    // By the one system call that receives: others are forbidden to some who are here.
    let flags = flags | RecvFlags::PEEK | RecvFlags::TRUNC;
    loop {
        let mut control = RecvAncillaryBuffer::default();
        match rustix::net::recvmsg(&socket, &mut [], &mut control, flags) {
            Err(Errno::INTR) => {}
            next => return Ok(vec![0; next?.bytes.min(PACKET_BYTES_MAX)]),
        }
    }
}

/// Receives one packet, waiting for it. An empty packet means that the other side is gone.
///
/// # Errors
/// When the socket is broken or the packet is longer than [`PACKET_BYTES_MAX`].
pub fn receive(socket: impl AsFd) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = room_for_next(&socket, RecvFlags::empty())?;
    let received = loop {
        let mut parts = [IoSliceMut::new(&mut bytes)];
        match rustix::net::recvmsg(&socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            other => break other?,
        }
    };
    if received.flags.contains(ReturnFlags::TRUNC) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "packet too long",
        ));
    }
    bytes.truncate(received.bytes);
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            fds.extend(received);
        }
    }
    Ok((bytes, fds))
}

/// Receives one packet from a process that is not trusted, without waiting: no room is offered for
/// descriptors, so the kernel drops any that were sent.
///
/// # Errors
/// `WouldBlock` when there is none, `InvalidData` when it is too long.
pub fn receive_untrusted(socket: impl AsFd) -> io::Result<Vec<u8>> {
    let mut bytes = room_for_next(&socket, RecvFlags::DONTWAIT)?;
    let (_, len) = rustix::net::recv(
        socket,
        &mut bytes[..],
        RecvFlags::DONTWAIT | RecvFlags::TRUNC,
    )?;
    if len > bytes.len() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "packet too long",
        ));
    }
    bytes.truncate(len);
    Ok(bytes)
}

/// Receives one packet, as [`receive_untrusted`], from a process that may hand over so many descriptors, of whatever
/// kind: what they are is for the receiver to find out, and there may be fewer, or a few more.
///
/// # Errors
/// As [`receive_untrusted`].
///
/// # Panics
/// When that is more than [`FDS_MAX`].
pub fn receive_untrusted_with(
    socket: impl AsFd,
    at_most: usize,
) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let (bytes, fds, _) = receive_with(socket, at_most)?;
    Ok((bytes, fds))
}

/// What came with a packet besides its bytes.
#[derive(Debug)]
pub enum Handed {
    /// Nothing.
    Nothing,
    /// One descriptor, of whatever kind: what it is, is for the receiver to find out.
    One(OwnedFd),
    /// There were some for which there was no room: more than one, or this process may have no more.
    Lost,
}

/// Receives one packet, as [`receive_untrusted`], from a process that may hand over one descriptor.
///
/// # Errors
/// As [`receive_untrusted`].
pub fn receive_untrusted_with_one(socket: impl AsFd) -> io::Result<(Vec<u8>, Handed)> {
    let (bytes, mut fds, was_cut) = receive_with(socket, 1)?;
    let is_lost = was_cut || fds.len() > 1;
    let handed = match fds.pop() {
        _ if is_lost => Handed::Lost,
        Some(fd) => Handed::One(fd),
        None => Handed::Nothing,
    };
    Ok((bytes, handed))
}

/// A packet, its descriptors, and whether there were some for which there was no room.
fn receive_with(socket: impl AsFd, at_most: usize) -> io::Result<(Vec<u8>, Vec<OwnedFd>, bool)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let room = rustix::cmsg_space!(ScmRights(at_most));
    let mut control = RecvAncillaryBuffer::new(&mut space[..room]);
    let mut bytes = room_for_next(&socket, RecvFlags::DONTWAIT)?;
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let received = rustix::net::recvmsg(&socket, &mut parts, &mut control, flags)?;
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            fds.extend(received);
        }
    }
    if received.flags.contains(ReturnFlags::TRUNC) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "packet too long",
        ));
    }
    bytes.truncate(received.bytes);
    let was_cut = received.flags.contains(ReturnFlags::CTRUNC);
    Ok((bytes, fds, was_cut))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_arrives_whole_with_its_descriptors() {
        let (a, b) = pair().unwrap();
        send(&a, b"hello", &[a.as_fd(), b.as_fd()]).unwrap();
        let (bytes, fds) = receive(&b).unwrap();
        assert_eq!((bytes.as_slice(), fds.len()), (&b"hello"[..], 2));
    }

    #[test]
    fn an_untrusted_packet_brings_no_descriptors_and_never_waits() {
        let (a, b) = pair().unwrap();
        assert_eq!(
            receive_untrusted(&b).unwrap_err().kind(),
            io::ErrorKind::WouldBlock
        );
        send(&a, b"x", &[a.as_fd()]).unwrap();
        assert_eq!(receive_untrusted(&b).unwrap(), b"x");
        drop(a);
        assert_eq!(receive_untrusted(&b).unwrap(), b"");
    }

    #[test]
    fn of_many_descriptors_at_most_one_is_kept() {
        let (a, b) = pair().unwrap();
        let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        for sent in [0, 1, FDS_MAX].repeat(50) {
            send(&a, b"x", &vec![a.as_fd(); sent]).unwrap();
            let (bytes, handed) = receive_untrusted_with_one(&b).unwrap();
            assert_eq!(bytes, b"x");
            assert!(match handed {
                Handed::Nothing => sent == 0,
                Handed::One(_) => sent == 1,
                Handed::Lost => sent > 1,
            });
        }
        let error = receive_untrusted_with_one(&b).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        // Of a thousand that were sent. Neighbours have some, too.
        assert!(descriptors() < 500);
    }

    #[test]
    fn a_packet_that_is_too_long_is_an_error() {
        let (a, b) = pair().unwrap();
        rustix::net::send(&a, &vec![1; PACKET_BYTES_MAX + 1], SendFlags::empty()).unwrap();
        assert_eq!(
            receive_untrusted(&b).unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
    }
}
