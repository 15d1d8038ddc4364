//! Tests of the list of sockets, against real ones in this network namespace.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};

use super::*;

fn endpoint(address: SocketAddr) -> Endpoint {
    let addr = match address {
        SocketAddr::V4(v4) => v4.ip().to_ipv6_mapped().octets(),
        SocketAddr::V6(v6) => v6.ip().octets(),
    };
    Endpoint { addr, port: address.port(), pad: 0 }
}

fn text(address: &str) -> Endpoint {
    endpoint(address.parse().expect("an address"))
}

fn listening(local: &str, v6_only: bool) -> Entry {
    let none = Endpoint::default();
    Entry { cookie: 1, inode: 1, local: text(local), remote: none, listens: true, v6_only }
}

/// A listener at this address, a connection to it from a client, and what is found of them.
fn check(listener: &TcpListener, target: SocketAddr) {
    let client = TcpStream::connect(target).expect("it listens");
    let (server, _) = listener.accept().expect("it was connected");
    let found = find().expect("/proc is mounted");

    let own = std::process::id();
    let at = endpoint(listener.local_addr().expect("bound"));
    let heard = found.listeners.iter().find(|listener| listener.local == at).expect("the listener is listed");
    assert_eq!(heard.tgid, own);
    assert_eq!(u64::from(heard.netns), fs::metadata("/proc/self/ns/net").expect("it exists").ino());

    for (stream, accepted) in [(&client, Some(false)), (&server, Some(true))] {
        let local = endpoint(stream.local_addr().expect("bound"));
        let socket = found.sockets.iter().find(|socket| socket.local == local).expect("the connection is listed");
        assert_eq!(socket.remote, endpoint(stream.peer_addr().expect("connected")));
        assert_eq!((socket.accepted, socket.tgid, socket.netns), (accepted, own, heard.netns));
        assert_eq!(socket.cookie, rustix::net::sockopt::socket_cookie(stream).expect("every socket has one"));
    }
}

#[test]
fn both_ends_of_an_ipv4_connection_are_found() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    check(&listener, listener.local_addr().expect("bound"));
}

#[test]
fn both_ends_of_an_ipv6_connection_are_found() {
    let listener = TcpListener::bind("[::1]:0").expect("a free port");
    check(&listener, listener.local_addr().expect("bound"));
}

#[test]
fn an_ipv6_socket_that_talks_ipv4_looks_like_ipv4() {
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).expect("a free port");
    let target = (Ipv4Addr::LOCALHOST, listener.local_addr().expect("bound").port()).into();
    let client = TcpStream::connect(target).expect("it listens");
    let (server, _) = listener.accept().expect("it was connected");
    let found = find().expect("/proc is mounted");
    let remote = endpoint(client.local_addr().expect("bound"));
    let socket = found.sockets.iter().find(|socket| socket.remote == remote).expect("the connection is listed");
    assert_eq!((socket.local, socket.accepted), (endpoint(target), Some(true)));
    drop(server);
}

#[test]
fn a_connection_whose_other_end_has_closed_is_still_found() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let client = TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
    let (server, _) = listener.accept().expect("it was connected");
    client.shutdown(std::net::Shutdown::Write).expect("it is open");
    let found = find().expect("/proc is mounted");
    let local = endpoint(server.local_addr().expect("bound"));
    assert!(found.sockets.iter().any(|socket| socket.local == local && socket.accepted == Some(true)));
}

#[test]
fn without_a_listener_nothing_tells_who_accepted() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let client = TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
    let (server, _) = listener.accept().expect("it was connected");
    drop(listener);
    let found = find().expect("/proc is mounted");
    for stream in [&client, &server] {
        let local = endpoint(stream.local_addr().expect("bound"));
        let socket = found.sockets.iter().find(|socket| socket.local == local).expect("the connection is listed");
        assert_eq!(socket.accepted, None);
    }
}

#[test]
fn a_port_is_accepted_where_it_is_listened_on() {
    let entries = [
        listening("127.0.0.1:1", false),
        listening("0.0.0.0:2", false),
        listening("[::]:3", false),
        listening("[::]:4", true),
        listening("[fd00::1]:5", true),
    ];
    let ports = Ports::listened_on(&entries);
    for (local, expect) in [
        ("127.0.0.1:1", true),
        ("127.0.0.2:1", false),
        ("[::1]:1", false),
        ("10.0.0.1:2", true),
        ("[::1]:2", false),
        ("10.0.0.1:3", true),
        ("[::1]:3", true),
        ("10.0.0.1:4", false),
        ("[::1]:4", true),
        ("[fd00::1]:5", true),
        ("[fd00::2]:5", false),
        ("127.0.0.1:6", false),
    ] {
        assert_eq!(ports.accept(&text(local)), expect, "{local}");
    }
}

#[test]
fn only_sockets_have_a_socket_inode() {
    assert_eq!(socket_inode("socket:[4711]"), Some(4711));
    for other in ["pipe:[4711]", "/dev/null", "socket:[x]", "socket:[4711"] {
        assert_eq!(socket_inode(other), None, "{other}");
    }
}
