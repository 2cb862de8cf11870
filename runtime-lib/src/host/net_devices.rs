//! Moves network devices into the container's network namespace, and back when a later step fails.
//!
//! Both halves are done from here, over two sockets: one made in the caller's network namespace, the other in the container's. The
//! second is made by a process beside this one, because a socket belongs to the namespace of its maker, and no thread of the caller
//! may change its namespace. Both have the caller's rights, which teu-init in a new user namespace would not have: it could not send
//! a device home.

use super::clone::{Call, perform_beside};
use crate::error::StepError;
use crate::netlink::{Link, Refusal, Route, Socket, free_index};
use crate::plan::net_devices::NetDevice;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// The way between two network namespaces, and who went it.
#[derive(Debug)]
pub(super) struct NetDevices {
    home: Socket,
    home_namespace: OwnedFd,
    /// Holds the container's network namespace alive, and with it the devices in it.
    away: Socket,
    away_namespace: OwnedFd,
    moved: Vec<Moved>,
}

/// A device in the container's network namespace.
#[derive(Debug)]
struct Moved {
    /// Its number there.
    index: i32,
    /// What it was.
    before: Link,
    /// The routes over it.
    routes: Vec<Route>,
}

impl NetDevices {
    /// The way from the calling thread's network namespace to that of a process.
    pub(super) fn between(pid: i32) -> Result<Self, StepError> {
        let home_namespace = namespace("/proc/thread-self/ns/net")?;
        let away_namespace = namespace(&format!("/proc/{pid}/ns/net"))?;
        let home =
            Socket::here().map_err(|refusal| refusal.during("make a route netlink socket"))?;
        let away = Socket::of(socket_in(away_namespace.as_fd())?);
        Ok(Self { home, home_namespace, away, away_namespace, moved: Vec::new() })
    }

    /// Moves the devices, gives them their addresses and sets them up.
    pub(super) fn move_all(&mut self, devices: &[NetDevice]) -> Result<(), StepError> {
        let mut there = self
            .away
            .links()
            .map_err(|refusal| refusal.during("list the container's network devices"))?;
        // Before the first one moves: a name that is taken is the commonest obstacle.
        for device in devices {
            if there.iter().any(|link| link.is_called(&device.to)) {
                return Err(StepError::new(words(device), libc::EEXIST)
                    .at(device.pointer.clone())
                    .hint(taken(&device.to)));
            }
        }
        for device in devices {
            let arrived = self.move_one(device, &there).map_err(|refusal| {
                let hint = hint(device, &refusal);
                let error = refusal.during(words(device)).at(device.pointer.clone());
                match hint {
                    Some(hint) => error.hint(hint),
                    None => error,
                }
            })?;
            there.push(arrived);
        }
        Ok(())
    }

    fn move_one(&mut self, device: &NetDevice, there: &[Link]) -> Result<Link, Refusal> {
        let before = &device.before;
        let index = free_index(before.index, there)?;
        let routes = self.home.routes(before.index)?;
        let namespace = self.away_namespace.as_fd();
        let answer = self.home.move_link(before.index, namespace, index, &device.to);
        // The kernel moves first and renames then: a name that was taken meanwhile is refused when the device is gone already.
        if answer.is_ok() || self.home.link_numbered(before.index)?.is_none() {
            self.moved.push(Moved { index, before: before.clone(), routes });
        }
        answer?;
        let link = self.away.link_numbered(index)?;
        let link = link.ok_or(Refusal { errno: libc::ENODEV, words: None })?;
        for address in &device.addresses {
            self.away.add_address(address, index, &before.name, &link.name)?;
        }
        self.away.set_up(index)?;
        Ok(link)
    }

    /// Moves every device back, the last one first: name, number, addresses, routes and state as before.
    pub(super) fn move_back(mut self) -> Vec<Result<(), StepError>> {
        let moved = std::mem::take(&mut self.moved);
        let failed = |link: &Link, refusal: Refusal| {
            refusal.during(format!("move the network device {} back", link.name))
        };
        moved
            .iter()
            .rev()
            .map(|moved| self.restore(moved).map_err(|refusal| failed(&moved.before, refusal)))
            .collect()
    }

    fn restore(&mut self, moved: &Moved) -> Result<(), Refusal> {
        let Link { index, name, addresses, up, .. } = &moved.before;
        let home = self.home_namespace.as_fd();
        self.away.move_link(moved.index, home, *index, name)?;
        for address in addresses {
            self.home.add_address(address, *index, name, name)?;
        }
        if *up {
            self.home.set_up(*index)?;
        }
        moved.routes.iter().try_for_each(|route| self.home.add_route(route))
    }
}

fn words(device: &NetDevice) -> String {
    let NetDevice { from, to, .. } = device;
    format!("move the network device {from} into the container as {to}")
}

fn taken(name: &str) -> String {
    format!("a device called {name} is in the container's network namespace already")
}

/// Advice, where the kernel's words say too little.
fn hint(device: &NetDevice, refusal: &Refusal) -> Option<String> {
    match refusal.errno {
        libc::EEXIST if refusal.words.is_none() => Some(taken(&device.to)),
        libc::EACCES => Some("is IPv6 disabled in the container's network namespace?".to_owned()),
        libc::ENODEV => {
            Some("the device is gone, or was renamed, since it was looked at".to_owned())
        }
        libc::EINVAL if refusal.words.is_none() => Some(
            "the kernel may not let this kind of device leave its network namespace".to_owned(),
        ),
        _ => None,
    }
}

fn namespace(path: &str) -> Result<OwnedFd, StepError> {
    open(path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
        .map_err(|errno| StepError::new(format!("open {path}"), errno as i32))
}

/// A route netlink socket in another network namespace.
#[allow(unsafe_code, reason = "a descriptor comes back as the answer of a system call")]
fn socket_in(namespace: BorrowedFd<'_>) -> Result<OwnedFd, StepError> {
    let number = |number: libc::c_long| u64::try_from(number).unwrap_or(u64::MAX);
    let word = |word: libc::c_int| u64::try_from(word).unwrap_or(u64::MAX);
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
    let enter = [word(namespace.as_raw_fd()), word(libc::CLONE_NEWNET), 0, 0, 0, 0];
    let make = [word(libc::AF_NETLINK), word(kind), word(libc::NETLINK_ROUTE), 0, 0, 0];
    let calls = [(libc::SYS_setns, enter), (libc::SYS_socket, make)].map(|(call, args)| Call {
        number: number(call),
        args,
        optional: 0,
    });
    let answer = perform_beside(&calls, "make a socket in the container's network namespace")?;
    let fd = RawFd::try_from(answer).unwrap_or(-1);
    // SAFETY: the kernel has just made this descriptor for the process beside this one, which shared this one's open files.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    //! Against the kernel, as root, in network namespaces of threads.
    use super::*;
    use nix::sched::{CloneFlags, unshare};
    use std::process::Command;
    use std::sync::mpsc::channel;
    use std::thread;

    /// ip(8) in the calling thread's network namespace; false where it is not installed.
    fn ip(lines: &[&str]) -> bool {
        lines.iter().all(|line| match Command::new("ip").args(line.split(' ')).status() {
            Ok(status) => {
                assert!(status.success(), "ip {line}");
                true
            }
            Err(error) => {
                eprintln!("SKIPPED: ip(8): {error}");
                false
            }
        })
    }

    /// Runs a test between two new network namespaces: that of the calling thread, with a device `dev7` that is up and has an
    /// address, and that of the thread whose number the test gets, with a device `net0`.
    fn between_namespaces(test: impl FnOnce(i32) + Send) {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("SKIPPED: needs root");
            return;
        }
        let (tell, told) = channel();
        let (over, wait) = channel::<()>();
        thread::scope(|scope| {
            scope.spawn(move || {
                unshare(CloneFlags::CLONE_NEWNET).unwrap();
                ip(&["link add name net0 index 70 type veth peer name net1 index 71"]);
                tell.send(nix::unistd::gettid().as_raw()).unwrap();
                // Until the test is over, however it ends.
                wait.recv().unwrap_err();
            });
            scope.spawn(move || {
                unshare(CloneFlags::CLONE_NEWNET).unwrap();
                let made = ip(&[
                    "link add name dev7 index 50 type veth peer name peer7 index 51",
                    "addr add 192.0.2.7/24 dev dev7",
                    "link set dev7 up",
                    "route add 198.51.100.0/24 via 192.0.2.1 dev dev7 metric 5 mtu 1300 src 192.0.2.7",
                    "route add 203.0.113.0/24 dev dev7 table 77",
                    "-6 addr add 2001:db8::7/64 dev dev7 nodad",
                    "-6 route add 2001:db8:1::/64 via 2001:db8::1 dev dev7",
                ]);
                let thread = told.recv().unwrap();
                if made {
                    test(thread);
                }
                drop(over);
            });
        });
    }

    fn look(name: &str) -> Option<Link> {
        let mut socket = Socket::here().unwrap();
        let mut link = socket.link_called(name).unwrap()?;
        link.addresses = socket.addresses(link.index).unwrap();
        Some(link)
    }

    fn device(before: &Link, to: &str) -> NetDevice {
        NetDevice {
            pointer: "/linux/netDevices/dev7".to_owned(),
            from: before.name.clone(),
            to: to.to_owned(),
            addresses: before.addresses.clone(),
            before: before.clone(),
        }
    }

    #[test]
    fn a_name_taken_at_the_last_moment_does_not_lose_the_device() {
        between_namespaces(|thread| {
            let before = look("dev7").unwrap();
            let routes = Socket::here().unwrap().routes(before.index).unwrap();
            assert_eq!(routes.len(), 3, "{routes:?}");
            let mut way = NetDevices::between(thread).unwrap();
            // As if there were no net0 yet.
            let refusal = way.move_one(&device(&before, "net0"), &[]).unwrap_err();
            assert_eq!(refusal.errno, libc::EEXIST);
            assert_eq!(look("dev7"), None, "the kernel moves before it renames");
            assert_eq!(way.move_back(), [Ok(())]);
            assert_eq!(look("dev7"), Some(before));
            assert_eq!(Socket::here().unwrap().routes(50).unwrap(), routes);
        });
    }

    #[test]
    fn a_name_that_is_taken_is_told_before_anything_moves() {
        between_namespaces(|thread| {
            let before = look("dev7").unwrap();
            let mut way = NetDevices::between(thread).unwrap();
            let error = way.move_all(&[device(&before, "net0")]).unwrap_err();
            let text = "move the network device dev7 into the container as net0: file exists (/linux/netDevices/dev7); a device called net0 is in the container's network namespace already";
            assert_eq!(error.to_string(), text);
            assert_eq!(look("dev7"), Some(before));
            assert!(way.move_back().is_empty());
        });
    }

    #[test]
    fn the_socket_made_elsewhere_is_there_and_no_thread_of_the_caller_is() {
        between_namespaces(|thread| {
            let place = || std::fs::read_link("/proc/thread-self/ns/net").unwrap();
            let before = place();
            let mut way = NetDevices::between(thread).unwrap();
            assert_eq!(way.away.link_called("net0").unwrap().unwrap().index, 70);
            assert_eq!(way.away.link_called("dev7").unwrap(), None);
            assert_eq!(place(), before);
        });
    }
}
