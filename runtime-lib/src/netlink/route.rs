//! Routes over a device, which go when the device goes and have to be told again when it comes back.

use super::message::{Message, Request, attributes, i32_at, u32_at};
use super::{LIST, NLM_F_CREATE_EXCLUSIVE, ONE, Refusal, Socket};
use std::collections::BTreeMap;

const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;

const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_CACHEINFO: u16 = 12;
const RTA_VIA: u16 = 18;

/// Length of `struct rtmsg`: family, lengths of destination and source, type of service, table, protocol, scope, type, flags (32 bits).
const HEAD: usize = 12;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// A route that somebody gave, over one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    /// `struct rtmsg`, as it is given.
    head: [u8; HEAD],
    attributes: BTreeMap<u16, Vec<u8>>,
}

impl Route {
    fn read(message: Message<'_>, index: i32) -> Option<Self> {
        const CLONED: u32 = 0x200;
        const ONLINK: u32 = 0x4;
        /// Learnt by ICMP, made by the kernel for an address, learnt from a router: nobody has to give those.
        const AUTOMATIC: &[u8] = &[1, 2, 9];
        if message.kind != RTM_NEWROUTE {
            return None;
        }
        let mut head: [u8; HEAD] = *message.body.first_chunk()?;
        let [.., protocol, _, _, _, _, _, _] = head;
        let flags = u32_at(&head, 8)?;
        let attributes: BTreeMap<u16, Vec<u8>> = attributes(message.body, HEAD)
            .filter(|(kind, _)| *kind != RTA_CACHEINFO)
            .map(|(kind, value)| (kind, value.to_owned()))
            .collect();
        let over = attributes.get(&RTA_OIF).and_then(|value| i32_at(value, 0));
        if flags & CLONED != 0 || AUTOMATIC.contains(&protocol) || over != Some(index) {
            return None;
        }
        // The others tell how it is with the device just now.
        let [.., a, b, c, d] = &mut head;
        [*a, *b, *c, *d] = (flags & ONLINK).to_ne_bytes();
        Some(Self { head, attributes })
    }

    /// Whether it leads to a neighbour, which another route has to lead to.
    fn is_indirect(&self) -> bool {
        [RTA_GATEWAY, RTA_VIA].iter().any(|kind| self.attributes.contains_key(kind))
    }
}

impl Socket {
    /// The routes over a device that somebody gave, in an order in which they can be given.
    pub(crate) fn routes(&mut self, index: i32) -> Result<Vec<Route>, Refusal> {
        let mut routes = Vec::new();
        for family in [AF_INET, AF_INET6] {
            let mut head = [0; HEAD];
            let [first, ..] = &mut head;
            *first = family;
            // The kernel leaves out the others by itself, where it can.
            let request =
                Request::new(RTM_GETROUTE, LIST, &head).attribute(RTA_OIF, &index.to_ne_bytes());
            routes.extend(self.list(&request, |message| Route::read(message, index))?);
        }
        routes.sort_by_key(Route::is_indirect);
        Ok(routes)
    }

    /// Gives a route. One that is there already is no error.
    pub(crate) fn add_route(&mut self, route: &Route) -> Result<(), Refusal> {
        let request = Request::new(RTM_NEWROUTE, ONE | NLM_F_CREATE_EXCLUSIVE, &route.head);
        let attributes = route.attributes.iter();
        let request =
            attributes.fold(request, |request, (kind, value)| request.attribute(*kind, value));
        match self.change(request) {
            Err(Refusal { errno: libc::EEXIST, .. }) => Ok(()),
            answer => answer,
        }
    }
}
