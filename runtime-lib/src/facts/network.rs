//! The network devices of the runtime's network namespace, looked at only where the configuration moves some of them.

use crate::error::StepError;
use crate::netlink::{Link, Refusal, Socket};
use std::collections::BTreeMap;

/// What moving network devices depends on.
#[derive(Debug, Clone, Default)]
pub(crate) struct NetworkFacts {
    /// Whether the runtime may change devices here (CAP_NET_ADMIN).
    pub(crate) may_change: bool,
    /// The devices that the configuration names, by that name; those that there are.
    pub(crate) links: BTreeMap<String, Link>,
}

/// Looks at the named devices.
pub(crate) fn network(names: &[String]) -> Result<NetworkFacts, StepError> {
    let failed = |refusal: Refusal| refusal.during("look at the network devices");
    let mut socket = Socket::here().map_err(failed)?;
    let mut links = BTreeMap::new();
    for name in names {
        let Some(mut link) = socket.link_called(name).map_err(failed)? else { continue };
        link.addresses = socket.addresses(link.index).map_err(failed)?;
        links.insert(name.clone(), link);
    }
    Ok(NetworkFacts { may_change: socket.may_change().map_err(failed)?, links })
}

#[cfg(any(test, fuzzing))]
pub(crate) mod testing {
    //! Devices for tests of the planner.
    use super::*;
    use crate::netlink::testing::address;

    /// A host with one device that can go.
    pub(crate) fn one_device() -> NetworkFacts {
        let addresses = vec![address("192.0.2.7/24", true, 0), address("2001:db8::7/64", true, 0)];
        let name = "enp3s0".to_owned();
        let link = Link { index: 3, name: name.clone(), up: true, addresses, ..Link::default() };
        let links = BTreeMap::from([(name, link)]);
        NetworkFacts { may_change: true, links }
    }
}
