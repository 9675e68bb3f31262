//! Holds a port of this host by a socket that is bound and never used: others hear that the address is in use, and
//! who connects where no translation stands in between hears that nobody listens.

use crate::endpoints::ports::{Hold, HoldError, HostPorts};
use hopsack_types::{HostPort, Protocol};
use socket2::{Domain, Protocol as SocketProtocol, Socket, Type};
use std::io;
use std::net::Shutdown;

/// Sockets of this host.
pub struct KernelPorts;

impl HostPorts for KernelPorts {
    fn hold(&self, port: HostPort) -> Result<Hold, HoldError> {
        let code = |error: &io::Error| error.raw_os_error();
        match bind(port) {
            Ok(socket) => Ok(Box::new(socket)),
            // A kernel without the protocol has no program that could use its ports.
            Err(error)
                if port.protocol == Protocol::Sctp && code(&error) == Some(nix::libc::EPROTONOSUPPORT) =>
            {
                Ok(Box::new(()))
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(HoldError::Busy),
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => Err(HoldError::NoAddress),
            Err(error) => Err(HoldError::System(error)),
        }
    }
}

fn bind(port: HostPort) -> io::Result<Socket> {
    let domain = Domain::for_address(port.socket_address());
    let kind = if port.protocol == Protocol::Udp { Type::DGRAM } else { Type::STREAM };
    let protocol = SocketProtocol::from(i32::from(port.protocol.number()));
    let socket = Socket::new(domain, kind, Some(protocol))?;
    if domain == Domain::IPV6 {
        socket.set_only_v6(true)?;
    }
    let address = port.socket_address().into();
    if port.protocol != Protocol::Tcp {
        socket.bind(&address)?;
        return Ok(socket);
    }
    // As servers do, past connections of the last program that had the port; listening finds those that have it now.
    socket.set_reuse_address(true)?;
    socket.bind(&address)?;
    socket.listen(1)?;
    // Ends the listening and keeps the port; from here on nobody else may reuse it.
    socket.shutdown(Shutdown::Read)?;
    socket.set_reuse_address(false)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, TcpStream, UdpSocket};
    use std::num::NonZeroU16;

    fn port(protocol: Protocol, address: impl Into<IpAddr>, port: u16) -> HostPort {
        HostPort { protocol, address: address.into(), port: NonZeroU16::new(port).unwrap() }
    }

    /// A port that was free a moment ago, and a connection of it that has ended on this side (TIME-WAIT).
    fn used_before() -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let client = TcpStream::connect(address).unwrap();
        drop(listener.accept().unwrap());
        drop(client);
        address.port()
    }

    #[test]
    fn a_held_port_is_in_use_for_others_and_refuses_connections() {
        let free = used_before();
        let held = KernelPorts.hold(port(Protocol::Tcp, Ipv4Addr::UNSPECIFIED, free)).ok().unwrap();
        for address in [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv4Addr::UNSPECIFIED.into()] {
            // The standard library's listeners set SO_REUSEADDR, as most servers do.
            let error = TcpListener::bind((address, free)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
            assert!(matches!(KernelPorts.hold(port(Protocol::Tcp, address, free)), Err(HoldError::Busy)));
        }
        let error = TcpStream::connect((Ipv4Addr::LOCALHOST, free)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        drop(held);
        TcpListener::bind((Ipv4Addr::LOCALHOST, free)).unwrap();
    }

    #[test]
    fn a_port_that_somebody_listens_at_is_busy_whatever_the_protocol() {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        for (protocol, address) in
            [(Protocol::Tcp, tcp.local_addr().unwrap()), (Protocol::Udp, udp.local_addr().unwrap())]
        {
            let all = port(protocol, Ipv4Addr::UNSPECIFIED, address.port());
            assert!(matches!(KernelPorts.hold(all), Err(HoldError::Busy)), "{protocol}");
            // The other family is another port.
            KernelPorts.hold(port(protocol, Ipv6Addr::UNSPECIFIED, address.port())).ok().unwrap();
        }
    }

    #[test]
    fn an_address_of_others_is_told_from_a_busy_port() {
        let elsewhere = port(Protocol::Udp, Ipv4Addr::new(192, 0, 2, 77), 5353);
        assert!(matches!(KernelPorts.hold(elsewhere), Err(HoldError::NoAddress)));
    }

    #[test]
    fn sctp_is_held_where_the_kernel_has_it_and_free_where_not() {
        KernelPorts.hold(port(Protocol::Sctp, Ipv4Addr::UNSPECIFIED, 45_678)).ok().unwrap();
    }
}
