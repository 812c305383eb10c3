//! Sockets of every kind.

use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};

use super::{Attack, Field, attack};
use crate::escape::call::{address, call};
use crate::escape::outcome::Attempt;

pub(super) const ATTACKS: &[Attack] = &[
    attack("connect-tcp", |f| {
        Ok(TcpStream::connect(f.stage.tcp).map(drop)?)
    }),
    attack("listen-tcp", |_| {
        Ok(TcpListener::bind("127.0.0.1:0").map(drop)?)
    }),
    attack("send-udp", send_udp),
    attack("connect-unix-by-name", connect_unix_by_name),
    attack("connect-unix-by-path", |f| {
        Ok(UnixStream::connect(&f.stage.socket_path).map(drop)?)
    }),
    attack("open-netlink", |_| {
        socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE)
    }),
    attack("open-raw-socket", |_| {
        socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP)
    }),
    attack("make-socketpair", make_socketpair),
];

fn send_udp(field: &Field<'_>) -> Attempt {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.send_to(b"out", field.stage.udp)?;
    Ok(())
}

fn connect_unix_by_name(field: &Field<'_>) -> Attempt {
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&field.stage.abstract_name)?;
    Ok(())
}

fn socket(family: i32, kind: i32, protocol: i32) -> Attempt {
    call(
        libc::SYS_socket,
        [family as usize, kind as usize, protocol as usize],
    )
    .map(drop)
}

fn make_socketpair(_: &Field<'_>) -> Attempt {
    let mut pair = [0i32; 2];
    call(
        libc::SYS_socketpair,
        [
            libc::AF_UNIX as usize,
            libc::SOCK_STREAM as usize,
            0,
            address(&mut pair),
        ],
    )
    .map(drop)
}
