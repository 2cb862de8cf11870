//! Network devices, which netlink calls links, and their addresses.

use super::message::{Message, Request, attributes, i32_at, text, u32_at};
use super::{LIST, NLM_F_CREATE_EXCLUSIVE, ONE, Refusal, Socket};
use nix::errno::Errno;
use serde::{Serialize, Serializer};
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_SETLINK: u16 = 19;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;

const IFLA_IFNAME: u16 = 3;
const IFLA_MASTER: u16 = 10;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_NEW_IFINDEX: u16 = 49;
const IFLA_PROP_LIST: u16 = 52;
const IFLA_ALT_IFNAME: u16 = 53;
const IFLA_NETNS_IMMUTABLE: u16 = 67;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_LABEL: u16 = 3;
const IFA_BROADCAST: u16 = 4;
const IFA_CACHEINFO: u16 = 6;
const IFA_FLAGS: u16 = 8;
const IFA_RT_PRIORITY: u16 = 9;
const IFA_PROTO: u16 = 11;

const IFA_F_PERMANENT: u32 = 0x80;
/// The flags that an address is given, as opposed to those that the kernel finds out: no duplicate detection, home address, mother of
/// temporary addresses, no prefix route, joins multicast groups.
const IFA_F_GIVEN: u32 = 0x02 | 0x10 | 0x100 | 0x200 | 0x400;

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// Length of `struct ifinfomsg`: family, padding, type (16 bits), index, flags, change mask.
const LINK_HEAD: usize = 16;
/// Length of `struct ifaddrmsg`: family, prefix length, flags, scope, index.
const ADDRESS_HEAD: usize = 8;

/// A network device as it is in its network namespace.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Link {
    /// Its number.
    pub(crate) index: i32,
    /// Its name.
    pub(crate) name: String,
    /// Other names it goes by.
    pub(crate) alternative: Vec<String>,
    /// Whether it is set up.
    pub(crate) up: bool,
    /// Whether it is `lo`.
    pub(crate) loopback: bool,
    /// The number of the bridge or bond that it is a port of.
    pub(crate) master: Option<i32>,
    /// Whether it may never change its network namespace. Linux before 6.15 does not say.
    pub(crate) immutable: bool,
    /// Its addresses, in the order in which they have to be given to have the same order again.
    pub(crate) addresses: Vec<Address>,
}

impl Link {
    fn read(message: Message<'_>) -> Option<Self> {
        const IFF_UP: u32 = 1;
        const IFF_LOOPBACK: u32 = 8;
        if message.kind != RTM_NEWLINK {
            return None;
        }
        let flags = u32_at(message.body, 8)?;
        let mut link = Self {
            index: i32_at(message.body, 4)?,
            up: flags & IFF_UP != 0,
            loopback: flags & IFF_LOOPBACK != 0,
            ..Self::default()
        };
        for (kind, value) in attributes(message.body, LINK_HEAD) {
            match kind {
                IFLA_IFNAME => link.name = text(value),
                IFLA_MASTER => link.master = i32_at(value, 0),
                IFLA_NETNS_IMMUTABLE => link.immutable = value.first() == Some(&1),
                IFLA_PROP_LIST => link.alternative.extend(
                    attributes(value, 0)
                        .filter(|(kind, _)| *kind == IFLA_ALT_IFNAME)
                        .map(|(_, name)| text(name)),
                ),
                _ => {}
            }
        }
        Some(link)
    }

    /// Whether it goes by this name.
    pub(crate) fn is_called(&self, name: &str) -> bool {
        self.name == name || self.alternative.iter().any(|other| other == name)
    }
}

/// An address of a network device, with everything that was said when it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    family: u8,
    prefix: u8,
    scope: u8,
    flags: u32,
    attributes: Vec<(u16, Vec<u8>)>,
}

impl Address {
    /// The device's number, and the address.
    fn read(message: Message<'_>) -> Option<(i32, Self)> {
        let [family, prefix, short_flags, scope] = *message.body.first_chunk()?;
        let index = i32_at(message.body, 4)?;
        if message.kind != RTM_NEWADDR || !matches!(family, AF_INET | AF_INET6) {
            return None;
        }
        let mut address =
            Self { family, prefix, scope, flags: short_flags.into(), attributes: Vec::new() };
        for (kind, value) in attributes(message.body, ADDRESS_HEAD) {
            match kind {
                IFA_FLAGS => address.flags = u32_at(value, 0)?,
                IFA_CACHEINFO => address.attributes.push((kind, lifetimes(value))),
                IFA_ADDRESS | IFA_LOCAL | IFA_LABEL | IFA_BROADCAST | IFA_RT_PRIORITY
                | IFA_PROTO => address.attributes.push((kind, value.to_owned())),
                _ => {}
            }
        }
        Some((index, address))
    }

    /// Whether somebody gave it for good (`IFA_F_PERMANENT`), as opposed to DHCP or a router for some time.
    pub(crate) fn is_permanent(&self) -> bool {
        self.flags & IFA_F_PERMANENT != 0
    }

    /// Whether it is good for talking to everybody (`RT_SCOPE_UNIVERSE`).
    pub(crate) fn is_global(&self) -> bool {
        self.scope == 0
    }

    /// Whether it is an IPv6 address of one link, which the kernel gives to every device by itself.
    pub(crate) fn is_automatic(&self) -> bool {
        self.family == AF_INET6 && !self.is_global()
    }

    /// The request that gives it to the device with the number `index`, which was called `from` and is called `to`.
    fn request(&self, index: i32, from: &str, to: &str) -> Request {
        let mut head = vec![self.family, self.prefix, 0, self.scope];
        head.extend(index.to_ne_bytes());
        let mut request = Request::new(RTM_NEWADDR, ONE | NLM_F_CREATE_EXCLUSIVE, &head)
            .attribute(IFA_FLAGS, &(self.flags & IFA_F_GIVEN).to_ne_bytes());
        for (kind, value) in &self.attributes {
            request = match *kind {
                IFA_LABEL => request.text(IFA_LABEL, &relabelled(&text(value), from, to)),
                kind => request.attribute(kind, value),
            };
        }
        request
    }

    /// The address itself: the near end, where it is one of two.
    fn bytes(&self) -> &[u8] {
        let of = |wanted: u16| self.attributes.iter().find(|(kind, _)| *kind == wanted);
        of(IFA_LOCAL).or_else(|| of(IFA_ADDRESS)).map_or(&[], |(_, value)| value.as_slice())
    }
}

/// Of `struct ifa_cacheinfo`, how long an address is preferred and valid; not when it was made and changed.
fn lifetimes(cache_info: &[u8]) -> Vec<u8> {
    let mut bytes = cache_info.to_owned();
    bytes.iter_mut().skip(8).for_each(|byte| *byte = 0);
    bytes
}

/// A label is the device's name, or begins with it and a colon (ip-address(8)).
fn relabelled(label: &str, from: &str, to: &str) -> String {
    match label.strip_prefix(from) {
        Some(rest) if rest.is_empty() || rest.starts_with(':') => {
            // IFNAMSIZ, as for names.
            let label = format!("{to}{rest}");
            if label.len() < 16 { label } else { to.to_owned() }
        }
        _ => label.to_owned(),
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.bytes();
        match (<[u8; 4]>::try_from(bytes), <[u8; 16]>::try_from(bytes)) {
            (Ok(v4), _) => write!(f, "{}", Ipv4Addr::from(v4))?,
            (_, Ok(v6)) => write!(f, "{}", Ipv6Addr::from(v6))?,
            _ => f.write_str("an address")?,
        }
        write!(f, "/{}", self.prefix)
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

fn link_head(index: i32, up: bool) -> Vec<u8> {
    let mut head = vec![0; 4];
    head.extend(index.to_ne_bytes());
    // Flags, and which of them are meant: IFF_UP.
    head.extend([u32::from(up); 2].iter().flat_map(|flags| flags.to_ne_bytes()));
    head
}

impl Socket {
    /// Every device of the namespace, without addresses.
    pub(crate) fn links(&mut self) -> Result<Vec<Link>, Refusal> {
        self.list(&Request::new(RTM_GETLINK, LIST, &link_head(0, false)), Link::read)
    }

    /// The device that goes by a name, without addresses.
    pub(crate) fn link_called(&mut self, name: &str) -> Result<Option<Link>, Refusal> {
        self.link(Request::new(RTM_GETLINK, ONE, &link_head(0, false)).text(IFLA_IFNAME, name))
    }

    /// The device with a number, without addresses.
    pub(crate) fn link_numbered(&mut self, index: i32) -> Result<Option<Link>, Refusal> {
        self.link(Request::new(RTM_GETLINK, ONE, &link_head(index, false)))
    }

    fn link(&mut self, request: Request) -> Result<Option<Link>, Refusal> {
        let mut found = None;
        match self.exchange(request, |message| found = Link::read(message)) {
            Ok(_) => Ok(found),
            Err(Refusal { errno: libc::ENODEV, .. }) => Ok(None),
            Err(refusal) => Err(refusal),
        }
    }

    /// The addresses of a device, in the order in which they have to be given.
    pub(crate) fn addresses(&mut self, index: i32) -> Result<Vec<Address>, Refusal> {
        let mut head = vec![0; 4];
        // The kernel leaves out the others by itself, where it can.
        head.extend(index.to_ne_bytes());
        let all = self.list(&Request::new(RTM_GETADDR, LIST, &head), Address::read)?;
        let own = all.into_iter().filter(|(of, _)| *of == index).map(|(_, address)| address);
        let (mut list, six): (Vec<_>, Vec<_>) = own.partition(|address| address.family == AF_INET);
        // The kernel lists IPv4 addresses in the order in which they were given, the first one being the source of packets, and
        // puts each new IPv6 address before the older ones.
        list.extend(six.into_iter().rev());
        Ok(list)
    }

    /// Whether the caller may change devices here: asks for no change of no device, which is permitted before it is refused.
    pub(crate) fn may_change(&mut self) -> Result<bool, Refusal> {
        match self.change(Request::new(RTM_SETLINK, ONE, &link_head(0, false))) {
            Err(Refusal { errno: libc::EPERM, .. }) => Ok(false),
            Ok(()) | Err(Refusal { errno: libc::EINVAL, .. }) => Ok(true),
            Err(refusal) => Err(refusal),
        }
    }

    /// Moves the device numbered `index` to another network namespace, where it gets a new number and a new name at once.
    ///
    /// When the kernel refuses the name but not the move, the device *has* moved: see [`Socket::link_numbered`].
    pub(crate) fn move_link(
        &mut self,
        index: i32,
        namespace: BorrowedFd<'_>,
        new_index: i32,
        new_name: &str,
    ) -> Result<(), Refusal> {
        self.change(
            Request::new(RTM_SETLINK, ONE, &link_head(index, false))
                .attribute(IFLA_NET_NS_FD, &namespace.as_raw_fd().to_ne_bytes())
                .attribute(IFLA_NEW_IFINDEX, &new_index.to_ne_bytes())
                .text(IFLA_IFNAME, new_name),
        )
    }

    /// Sets a device up.
    pub(crate) fn set_up(&mut self, index: i32) -> Result<(), Refusal> {
        self.change(Request::new(RTM_SETLINK, ONE, &link_head(index, true)))
    }

    /// Gives an address to a device that was called `from` and is called `to`. One that it has already is no error.
    pub(crate) fn add_address(
        &mut self,
        address: &Address,
        index: i32,
        from: &str,
        to: &str,
    ) -> Result<(), Refusal> {
        match self.change(address.request(index, from, to)) {
            Err(Refusal { errno: libc::EEXIST, .. }) => Ok(()),
            answer => answer,
        }
    }
}

/// A number for a device among others: the one it has, if that is free.
pub(crate) fn free_index(wanted: i32, taken: &[Link]) -> Result<i32, Refusal> {
    let is_free = |index: &i32| taken.iter().all(|link| link.index != *index);
    std::iter::once(wanted).chain(1..=i32::MAX).find(is_free).ok_or_else(|| Errno::EBUSY.into())
}

#[cfg(any(test, fuzzing))]
#[allow(clippy::unwrap_used, reason = "these are for tests, and written here")]
pub(crate) mod testing {
    //! Devices for tests of the planner.
    use super::*;

    /// An IPv4 address.
    pub(crate) fn address(text: &str, permanent: bool, scope: u8) -> Address {
        let (ip, prefix) = text.split_once('/').unwrap();
        let ip: std::net::IpAddr = ip.parse().unwrap();
        let (family, bytes) = match ip {
            std::net::IpAddr::V4(ip) => (AF_INET, ip.octets().to_vec()),
            std::net::IpAddr::V6(ip) => (AF_INET6, ip.octets().to_vec()),
        };
        Address {
            family,
            prefix: prefix.parse().unwrap(),
            scope,
            flags: if permanent { IFA_F_PERMANENT } else { 0 },
            attributes: vec![(IFA_ADDRESS, bytes)],
        }
    }
}
