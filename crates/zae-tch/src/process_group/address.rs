//! Where the others reach this process.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};

use zae_core::error::Fallible;

/// The address from which this machine reaches that one, which is how that one reaches this: its own name may mean something
/// else here (Debian has it as 127.0.1.1). Nothing is sent.
pub(super) fn toward(host: &str, port: u16) -> Fallible<IpAddr> {
    let unknown = |e: std::io::Error| format!("`{host}`, where rank 0 should be, is not known here: {e}");
    let mut all: Vec<SocketAddr> = (host, port).to_socket_addrs().map_err(unknown)?.collect();
    // All ranks have to decide alike, and IPv4 is what all have.
    all.sort_by_key(SocketAddr::is_ipv6);
    let mut found = all.into_iter().map(route);
    let first = found.next().unwrap_or_else(|| Err(std::io::ErrorKind::NotFound.into()));
    let address = first.or_else(|error| found.find_map(Result::ok).ok_or(error));
    Ok(address.map_err(|e| format!("there is no way from here to `{host}`, where rank 0 should be: {e}"))?)
}

fn route(to: SocketAddr) -> std::io::Result<IpAddr> {
    let any = if to.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(to)?;
    Ok(socket.local_addr()?.ip())
}

/// The address of this process, `own` being that toward rank 0, and `all` those of every rank. Those on rank 0's machine may
/// have none but a loopback's so far, which nobody elsewhere reaches.
pub(super) fn among(own: IpAddr, all: &[IpAddr]) -> IpAddr {
    let far = all.iter().find(|other| own.is_loopback() && !other.is_loopback());
    far.and_then(|far| route((*far, 1).into()).ok()).unwrap_or(own)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn one_machine_is_the_loopback_and_an_unknown_one_an_error() {
        let own = toward("localhost", 1).unwrap();
        assert!(own.is_loopback());
        assert_eq!(toward("127.0.0.1", 1).unwrap(), IpAddr::V4(Ipv4Addr::LOCALHOST));
        assert_eq!(among(own, &[own, own]), own);
        let error = toward("nowhere.invalid", 1).unwrap_err().to_string();
        assert!(error.starts_with("`nowhere.invalid`, where rank 0 should be, is not known here"), "{error}");
    }

    #[test]
    fn who_is_reached_from_another_machine_does_not_stay_on_the_loopback() {
        let own = IpAddr::V4(Ipv4Addr::LOCALHOST);
        // Of the documentation, so nobody's; there is a way to it if there is one to anywhere.
        let far: IpAddr = Ipv4Addr::new(192, 0, 2, 1).into();
        let expected = route((far, 1).into()).unwrap_or(own);
        assert_eq!(among(own, &[own, far]), expected);
        assert_eq!(among(far, &[own, far]), far);
    }
}
