//! The system calls that have no safe form elsewhere: datagrams in batches, integer socket options, users and groups, CPUs of
//! threads, signals to groups of processes.
//!
//! This is the only file with `unsafe`. What it gives out is safe to use in any order and with any argument.

#![allow(unsafe_code, reason = "the one file that calls the kernel and libc directly")]
#![allow(clippy::unnecessary_cast, reason = "the C libraries differ in the types of lengths and flags")]

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::collections::BTreeSet;
use std::ffi::{CStr, CString, c_char, c_int};
use std::io;
use std::mem::{MaybeUninit, size_of};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{self, NonNull, addr_of, addr_of_mut};
use std::slice;

use crate::config::MAX_CPU;
use crate::dns::MAX_UDP_RESPONSE;

/// Datagrams that one call receives or sends at most.
pub(super) const BATCH: usize = 64;
/// The longest datagram that is read whole, in bytes. No sensible query comes near it.
pub const MAX_REQUEST_BYTES: usize = 4096;

/// How long [`Batch::receive`] may block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// Until there is one datagram; then it takes what else is queued.
    ForOne,
    /// Not at all.
    No,
}

/// Where responses are sent from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReplySource {
    /// The socket's own address.
    Bound,
    /// The address that the request was sent to, for a socket bound to a wildcard address.
    /// The socket needs `IP_PKTINFO` or `IPV6_RECVPKTINFO`.
    Asked,
}

/// One request and the place for its response.
#[derive(Debug)]
pub(super) struct Datagram<'a> {
    /// The request, at most [`MAX_REQUEST_BYTES`].
    pub(super) request: &'a [u8],
    /// Whether the request was longer than that.
    pub(super) truncated: bool,
    /// Who sent it; its port is not 0.
    pub(super) peer: SocketAddr,
    /// Room for the response, [`MAX_UDP_RESPONSE`] long.
    pub(super) response: &'a mut [u8],
}

/// What became of the responses of one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Sent {
    /// Refused by the kernel, each for a reason of its own.
    pub(super) refused: usize,
    /// Not sent as the send queue was full.
    pub(super) dropped: usize,
}

/// A peer's address as the kernel writes it; the family is at the same place in both.
#[repr(C)]
#[derive(Clone, Copy)]
union Peer {
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

/// The buffers of one message. Its size is no power of two, so the beginnings of the messages spread over the cache.
#[repr(C)]
struct Slot {
    peer: Peer,
    /// One control message with an `in_pktinfo` or an `in6_pktinfo`, aligned as `cmsghdr` wants it.
    control: [u64; CONTROL_WORDS],
    /// Ahead of the request: the beginnings of both, which is all that most messages use, mostly share a page.
    response: [u8; MAX_UDP_RESPONSE],
    request: [u8; MAX_REQUEST_BYTES],
}

/// What the kernel is handed, at an address that doesn't change. All zeros is a valid value.
struct Storage {
    receive_headers: [libc::mmsghdr; BATCH],
    send_headers: [libc::mmsghdr; BATCH],
    receive_vectors: [libc::iovec; BATCH],
    send_vectors: [libc::iovec; BATCH],
    slots: [Slot; BATCH],
}

// SAFETY: CMSG_LEN and CMSG_SPACE only compute.
const CONTROL_BYTES_V4: usize = unsafe { libc::CMSG_SPACE(size_of::<libc::in_pktinfo>() as u32) } as usize;
// SAFETY: as above.
const CONTROL_BYTES_V6: usize = unsafe { libc::CMSG_SPACE(size_of::<libc::in6_pktinfo>() as u32) } as usize;
const CONTROL_WORDS: usize = CONTROL_BYTES_V6.div_ceil(size_of::<u64>());

/// Up to [`BATCH`] datagrams: received with one call, answered, and the answers sent with another.
/// Everything is allocated once, when it is made.
///
/// The headers that the kernel reads point into the same allocation. All access goes through pointers derived from
/// `storage`, and references into it never outlive one step of [`answer`](Self::answer).
pub(super) struct Batch {
    storage: NonNull<Storage>,
    reply_source: ReplySource,
    /// The first so many receive headers and slots hold a message.
    received: usize,
    /// The first so many send headers hold a response.
    queued: usize,
}

impl Batch {
    pub(super) fn new(reply_source: ReplySource) -> Self {
        let layout = Layout::new::<Storage>();
        // SAFETY: the layout's size isn't 0.
        let allocation = unsafe { alloc_zeroed(layout) }.cast::<Storage>();
        let Some(storage) = NonNull::new(allocation) else { handle_alloc_error(layout) };
        let all = storage.as_ptr();
        for index in 0..BATCH {
            // SAFETY: `all` is a whole, zeroed Storage owned by nobody else, and the index is within its arrays.
            unsafe {
                let slot = addr_of_mut!((*all).slots[index]);
                (*all).receive_vectors[index] =
                    libc::iovec { iov_base: addr_of_mut!((*slot).request).cast(), iov_len: MAX_REQUEST_BYTES };
                let header = addr_of_mut!((*all).receive_headers[index].msg_hdr);
                (*header).msg_name = addr_of_mut!((*slot).peer).cast();
                (*header).msg_iov = addr_of_mut!((*all).receive_vectors[index]);
                (*header).msg_iovlen = 1;
                if reply_source == ReplySource::Asked {
                    (*header).msg_control = addr_of_mut!((*slot).control).cast();
                }
                let header = addr_of_mut!((*all).send_headers[index].msg_hdr);
                (*header).msg_iov = addr_of_mut!((*all).send_vectors[index]);
                (*header).msg_iovlen = 1;
            }
        }
        // All headers are still to be prepared for receiving.
        Batch { storage, reply_source, received: BATCH, queued: 0 }
    }

    /// Receives into the batch in place of what it held.
    ///
    /// # Errors
    /// That of the first message; what was received before an error is given out first. Without [`Wait::ForOne`],
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) means that nothing is queued.
    pub(super) fn receive(&mut self, socket: &UdpSocket, wait: Wait) -> io::Result<()> {
        let all = self.storage.as_ptr();
        for index in 0..self.received {
            // The kernel overwrote the lengths with what it had; the pointers and vectors it leaves alone.
            // SAFETY: the storage is ours, and `received` is at most BATCH.
            unsafe {
                let header = addr_of_mut!((*all).receive_headers[index].msg_hdr);
                (*header).msg_namelen = size_of::<Peer>() as libc::socklen_t;
                if self.reply_source == ReplySource::Asked {
                    (*header).msg_controllen = (CONTROL_WORDS * size_of::<u64>()) as _;
                }
            }
        }
        self.received = 0;
        self.queued = 0;
        let flags = match wait {
            Wait::ForOne => libc::MSG_WAITFORONE,
            Wait::No => libc::MSG_DONTWAIT,
        };
        // SAFETY: BATCH headers whose pointers and lengths name parts of the storage, which lives as long as `self`;
        // no reference into it exists now.
        let count = unsafe {
            let headers = addr_of_mut!((*all).receive_headers).cast();
            libc::recvmmsg(socket.as_raw_fd(), headers, BATCH as _, flags as _, ptr::null_mut())
        };
        if count < 0 {
            return Err(io::Error::last_os_error());
        }
        self.received = (count as usize).min(BATCH);
        Ok(())
    }

    /// Hands each datagram received to `respond`, in order, and queues what it wrote: it returns the length of the
    /// response, or nothing where there is none. Datagrams that can't be replied to (port 0) are skipped.
    pub(super) fn answer(&mut self, mut respond: impl FnMut(Datagram<'_>) -> Option<usize>) {
        let all = self.storage.as_ptr();
        for index in 0..self.received {
            // SAFETY: the index is below BATCH, and no other reference into the storage exists.
            let (slot, header) = unsafe { (addr_of_mut!((*all).slots[index]), &(*all).receive_headers[index]) };
            // SAFETY: the kernel wrote `msg_namelen` bytes of the peer; the rest is initialised, too.
            let Some(peer) = (unsafe { socket_address(&(*slot).peer, header.msg_hdr.msg_namelen) }) else { continue };
            if peer.port() == 0 {
                continue;
            }
            let length = (header.msg_len as usize).min(MAX_REQUEST_BYTES);
            // SAFETY: request and response are different fields of the slot, all bytes are initialised, and these are
            // the only references to them until `respond` returns.
            let datagram = unsafe {
                Datagram {
                    request: slice::from_raw_parts(addr_of!((*slot).request).cast(), length),
                    truncated: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
                    peer,
                    response: &mut *addr_of_mut!((*slot).response),
                }
            };
            if let Some(length) = respond(datagram) {
                self.queue(index, length.min(MAX_UDP_RESPONSE));
            }
        }
    }

    /// Queues the first `length` bytes of the slot's response to the slot's peer.
    fn queue(&mut self, index: usize, length: usize) {
        assert!(index < self.received && self.queued < BATCH && length <= MAX_UDP_RESPONSE);
        let all = self.storage.as_ptr();
        // SAFETY: both indices are below BATCH by the assertion, and no reference into the storage exists.
        unsafe {
            let slot = addr_of_mut!((*all).slots[index]);
            let request = addr_of!((*all).receive_headers[index].msg_hdr);
            (*all).send_vectors[self.queued] =
                libc::iovec { iov_base: addr_of_mut!((*slot).response).cast(), iov_len: length };
            let response = addr_of_mut!((*all).send_headers[self.queued].msg_hdr);
            (*response).msg_name = addr_of_mut!((*slot).peer).cast();
            (*response).msg_namelen = (*request).msg_namelen;
            if self.reply_source == ReplySource::Asked {
                let control = addr_of_mut!((*slot).control);
                let control_bytes = source_from_destination(&mut *control, (*request).msg_controllen as usize);
                (*response).msg_control = if control_bytes == 0 { ptr::null_mut() } else { control.cast() };
                (*response).msg_controllen = control_bytes as _;
            }
        }
        self.queued += 1;
    }

    /// Sends what is queued, in order. A response that the kernel refuses is skipped, and the next ones still go out.
    pub(super) fn send(&mut self, socket: &UdpSocket) -> Sent {
        let all = self.storage.as_ptr();
        let mut outcome = Sent::default();
        let mut next = 0;
        while next < self.queued {
            // SAFETY: the headers from `next` up to `queued` name parts of the storage, which lives as long as `self`;
            // no reference into it exists now.
            let count = unsafe {
                let headers = addr_of_mut!((*all).send_headers[next]);
                libc::sendmmsg(socket.as_raw_fd(), headers, (self.queued - next) as _, 0)
            };
            if count > 0 {
                next += count as usize;
                continue;
            }
            match io::Error::last_os_error().raw_os_error() {
                Some(libc::EINTR) => {}
                // Room in the queue did not come within the send time-out: the rest would fare no better.
                Some(libc::EAGAIN) => {
                    outcome.dropped += self.queued - next;
                    next = self.queued;
                }
                Some(libc::ENOBUFS | libc::ENOMEM) => {
                    outcome.dropped += 1;
                    next += 1;
                }
                _ => {
                    outcome.refused += 1;
                    next += 1;
                }
            }
        }
        self.queued = 0;
        outcome
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout; nothing in it needs dropping.
        unsafe { dealloc(self.storage.as_ptr().cast(), Layout::new::<Storage>()) }
    }
}

/// Reads the address of which the kernel wrote `length` bytes; none for another family.
///
/// # Safety
/// All bytes of `peer` are initialised.
unsafe fn socket_address(peer: &Peer, length: libc::socklen_t) -> Option<SocketAddr> {
    // SAFETY: initialised by the contract, and any bytes are valid integers.
    let (v4, v6) = unsafe { (&peer.v4, &peer.v6) };
    match (c_int::from(v4.sin_family), length as usize) {
        (libc::AF_INET, size_of_v4) if size_of_v4 >= size_of::<libc::sockaddr_in>() => {
            let address = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            Some(SocketAddr::V4(SocketAddrV4::new(address, u16::from_be(v4.sin_port))))
        }
        (libc::AF_INET6, size_of_v6) if size_of_v6 >= size_of::<libc::sockaddr_in6>() => {
            let address = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            let port = u16::from_be(v6.sin6_port);
            Some(SocketAddr::V6(SocketAddrV6::new(address, port, v6.sin6_flowinfo, v6.sin6_scope_id)))
        }
        _ => None,
    }
}

/// Turns the control message that says where a request was sent to into the one that says where its response is sent
/// from. Returns its length, 0 where the kernel must choose. The interface is left to the routing table, but for
/// link-local addresses, which mean nothing without it.
fn source_from_destination(control: &mut [u64; CONTROL_WORDS], received_bytes: usize) -> usize {
    let header: *mut libc::cmsghdr = control.as_mut_ptr().cast();
    // SAFETY: `control` is aligned for a cmsghdr, and large enough for one and either pktinfo after it, at the place
    // that CMSG_DATA computes; all of it is initialised, and any bytes are valid integers.
    unsafe {
        match ((*header).cmsg_level, (*header).cmsg_type) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) if received_bytes >= CONTROL_BYTES_V4 => {
                let info: *mut libc::in_pktinfo = libc::CMSG_DATA(header).cast();
                (*info).ipi_ifindex = 0;
                CONTROL_BYTES_V4
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) if received_bytes >= CONTROL_BYTES_V6 => {
                let info: *mut libc::in6_pktinfo = libc::CMSG_DATA(header).cast();
                let destination = Ipv6Addr::from((*info).ipi6_addr.s6_addr);
                if destination.is_multicast() {
                    return 0;
                }
                if !destination.is_unicast_link_local() {
                    (*info).ipi6_ifindex = 0;
                }
                CONTROL_BYTES_V6
            }
            _ => 0,
        }
    }
}

/// Sets a socket option whose value is a C `int`.
///
/// # Errors
/// As setsockopt(2), for instance where the kernel doesn't know the option or the value.
pub(super) fn set_option(socket: BorrowedFd<'_>, level: c_int, name: c_int, value: c_int) -> io::Result<()> {
    // SAFETY: the pointer and the length describe `value`, which outlives the call.
    let result = unsafe {
        let length = size_of::<c_int>() as libc::socklen_t;
        libc::setsockopt(socket.as_raw_fd(), level, name, addr_of!(value).cast(), length)
    };
    succeeded(result)
}

/// A user's ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct UserIds {
    pub(super) uid: u32,
    /// The primary group.
    pub(super) gid: u32,
}

/// Looks a user up by name in the system's databases (NSS).
///
/// # Errors
/// Where the databases can't be read.
pub(super) fn user(name: &str) -> io::Result<Option<UserIds>> {
    look_up(name, libc::getpwnam_r, |entry| UserIds { uid: entry.pw_uid, gid: entry.pw_gid })
}

/// Looks a group's id up by name in the system's databases (NSS).
///
/// # Errors
/// Where the databases can't be read.
pub(super) fn group(name: &str) -> io::Result<Option<u32>> {
    look_up(name, libc::getgrnam_r, |entry| entry.gr_gid)
}

/// The form of getpwnam_r(3) and getgrnam_r(3).
type LookUp<Entry> =
    unsafe extern "C" fn(*const c_char, *mut Entry, *mut c_char, libc::size_t, *mut *mut Entry) -> c_int;

fn look_up<Entry, Ids>(name: &str, call: LookUp<Entry>, ids: fn(&Entry) -> Ids) -> io::Result<Option<Ids>> {
    /// An entry's text; a group may list thousands of members.
    const MAX_ENTRY_BYTES: usize = 1 << 20;
    let Ok(name) = CString::new(name) else { return Ok(None) };
    let name: &CStr = &name;
    let mut text: Vec<c_char> = vec![0; 1 << 10];
    loop {
        let mut entry = MaybeUninit::<Entry>::uninit();
        let mut found = ptr::null_mut();
        // SAFETY: `call` is one of the two functions above: it reads the name up to its NUL, and writes the entry, its
        // text within the length given, and `found`.
        let error = unsafe { call(name.as_ptr(), entry.as_mut_ptr(), text.as_mut_ptr(), text.len(), &mut found) };
        match error {
            0 if found.is_null() => return Ok(None),
            // SAFETY: `found` is `entry`, written whole, and its text is still there.
            0 => return Ok(Some(ids(unsafe { &*found }))),
            // Some sources of names say so in place of "not found".
            libc::ENOENT | libc::ESRCH => return Ok(None),
            libc::EINTR => {}
            libc::ERANGE if text.len() < MAX_ENTRY_BYTES => text.resize(text.len() * 4, 0),
            error => return Err(io::Error::from_raw_os_error(error)),
        }
    }
}

/// The real, effective and saved user ids.
///
/// # Errors
/// None that are known.
pub(super) fn uids() -> io::Result<[u32; 3]> {
    let [mut real, mut effective, mut saved] = [0; 3];
    // SAFETY: writes three integers.
    succeeded(unsafe { libc::getresuid(&mut real, &mut effective, &mut saved) })?;
    Ok([real, effective, saved])
}

/// The real, effective and saved group ids.
///
/// # Errors
/// None that are known.
pub(super) fn gids() -> io::Result<[u32; 3]> {
    let [mut real, mut effective, mut saved] = [0; 3];
    // SAFETY: writes three integers.
    succeeded(unsafe { libc::getresgid(&mut real, &mut effective, &mut saved) })?;
    Ok([real, effective, saved])
}

/// Gives all threads this group as their only supplementary one.
///
/// # Errors
/// Without CAP_SETGID.
pub(super) fn set_only_supplementary_group(gid: u32) -> io::Result<()> {
    // SAFETY: reads one group id.
    succeeded(unsafe { libc::setgroups(1, &gid) })
}

/// Sets the real, effective and saved group id of all threads.
///
/// # Errors
/// Without CAP_SETGID, where the id isn't one of the three already.
pub(super) fn set_gids(gid: u32) -> io::Result<()> {
    // SAFETY: takes integers only.
    succeeded(unsafe { libc::setresgid(gid, gid, gid) })
}

/// Sets the real, effective and saved user id of all threads.
///
/// # Errors
/// Without CAP_SETUID, where the id isn't one of the three already.
pub(super) fn set_uids(uid: u32) -> io::Result<()> {
    // SAFETY: takes integers only.
    succeeded(unsafe { libc::setresuid(uid, uid, uid) })
}

/// Kills all processes of a group; one that is gone, or whose number can't be a group's, is none.
pub(crate) fn kill_group(leader: u32) {
    // 0 and 1 would mean this process's own group and every process.
    if let Some(leader) = i32::try_from(leader).ok().filter(|leader| *leader > 1) {
        // SAFETY: kill(2) takes no pointer.
        unsafe { libc::kill(-leader, libc::SIGKILL) };
    }
}

/// Lets the process have as many descriptors as its hard limit allows: the usual soft limit of 1,024 is for programs
/// that use select(2). Returns how many these are.
///
/// # Errors
/// As setrlimit(2).
pub(super) fn raise_descriptor_limit() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: writes the limit.
    succeeded(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) })?;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: reads the limit.
    succeeded(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) })?;
    Ok(limit.rlim_cur as u64)
}

/// Gives memory that was freed back to the system, as far as the allocator can.
pub(super) fn release_free_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes no pointer, and locks what it works on.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// In place of a thread's number, the one that asks.
pub(super) const THIS_THREAD: u32 = 0;
/// Room for CPUs 0 to [`MAX_CPU`].
type CpuMask = [libc::c_ulong; (MAX_CPU + 1) / libc::c_ulong::BITS as usize];

/// The CPUs that this thread may run on.
///
/// # Errors
/// As sched_getaffinity(2).
pub(super) fn cpus_of_this_thread() -> io::Result<BTreeSet<usize>> {
    let mut mask: CpuMask = [0; _];
    // SAFETY: writes within the mask, whose length it is told.
    succeeded(unsafe {
        libc::sched_getaffinity(THIS_THREAD as libc::pid_t, size_of_val(&mask), mask.as_mut_ptr().cast())
    })?;
    Ok((0..=MAX_CPU).filter(|cpu| mask[word(*cpu)] & bit(*cpu) != 0).collect())
}

/// Keeps a thread, and those that it starts from then on, to these CPUs. Those above [`MAX_CPU`] are left out.
///
/// # Errors
/// As sched_setaffinity(2): none of the CPUs is there for this process, or the thread isn't.
pub(super) fn keep_thread_to(thread: u32, cpus: &BTreeSet<usize>) -> io::Result<()> {
    let mut mask: CpuMask = [0; _];
    cpus.range(..=MAX_CPU).for_each(|cpu| mask[word(*cpu)] |= bit(*cpu));
    // SAFETY: reads the mask, whose length it is told.
    succeeded(unsafe { libc::sched_setaffinity(thread as libc::pid_t, size_of_val(&mask), mask.as_ptr().cast()) })
}

fn word(cpu: usize) -> usize {
    cpu / libc::c_ulong::BITS as usize
}

fn bit(cpu: usize) -> libc::c_ulong {
    1 << (cpu % libc::c_ulong::BITS as usize)
}

fn succeeded(result: c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

    use std::time::Duration;

    use super::*;

    /// A server's socket, and a client's that is connected to it.
    fn pair() -> (UdpSocket, UdpSocket) {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect(server.local_addr().unwrap()).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        (server, client)
    }

    fn echo(datagram: Datagram<'_>) -> Option<usize> {
        let Datagram { request, response, .. } = datagram;
        let length = request.len().min(response.len());
        response[..length].copy_from_slice(&request[..length]);
        Some(length)
    }

    fn received(client: &UdpSocket) -> Vec<u8> {
        let mut buffer = [0; MAX_REQUEST_BYTES];
        let length = client.recv(&mut buffer).expect("an answer within the time-out");
        buffer[..length].to_vec()
    }

    #[test]
    fn more_than_a_batch_comes_back_in_order_and_lengths_do_not_leak_from_one_batch_to_the_next() {
        let (server, client) = pair();
        let requests: Vec<Vec<u8>> = (0..3 * BATCH).map(|n| vec![n as u8; 1 + n * 37 % 600]).collect();
        let mut batch = Batch::new(ReplySource::Bound);
        for some in requests.chunks(BATCH + 5) {
            for request in some {
                client.send(request).unwrap();
            }
            let mut answered = 0;
            while answered < some.len() {
                batch.receive(&server, Wait::ForOne).unwrap();
                batch.answer(|datagram| {
                    answered += 1;
                    assert_eq!(datagram.peer, client.local_addr().unwrap());
                    echo(datagram)
                });
                assert_eq!(batch.send(&server), Sent::default());
            }
            for request in some {
                assert_eq!(&received(&client), request);
            }
        }
        let error = batch.receive(&server, Wait::No).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn only_those_with_a_response_are_sent() {
        let (server, client) = pair();
        for n in 0..10 {
            client.send(&[n]).unwrap();
        }
        let mut batch = Batch::new(ReplySource::Bound);
        batch.receive(&server, Wait::ForOne).unwrap();
        batch.answer(|datagram| if datagram.request[0] % 3 == 0 { echo(datagram) } else { None });
        assert_eq!(batch.send(&server), Sent::default());
        let answers: Vec<_> = (0..4).map(|_| received(&client)).collect();
        assert_eq!(answers, [[0], [3], [6], [9]]);
    }

    #[test]
    fn a_request_over_the_bound_is_cut_and_said_to_be() {
        let (server, client) = pair();
        for length in [MAX_REQUEST_BYTES, MAX_REQUEST_BYTES + 1] {
            client.send(&vec![7; length]).unwrap();
        }
        let mut batch = Batch::new(ReplySource::Bound);
        batch.receive(&server, Wait::ForOne).unwrap();
        let mut seen = Vec::new();
        batch.answer(|datagram| {
            seen.push((datagram.request.len(), datagram.truncated));
            // A length over the room for it is cut as well, and never read from elsewhere.
            Some(usize::MAX)
        });
        assert_eq!(seen, [(MAX_REQUEST_BYTES, false), (MAX_REQUEST_BYTES, true)]);
        assert_eq!(batch.send(&server), Sent::default());
        assert_eq!(received(&client), [0; MAX_UDP_RESPONSE]);
    }

    #[test]
    fn a_response_that_the_kernel_refuses_does_not_hold_up_the_others() {
        let (server, client) = pair();
        for n in 0..5 {
            client.send(&[n]).unwrap();
        }
        let mut batch = Batch::new(ReplySource::Bound);
        batch.receive(&server, Wait::ForOne).unwrap();
        batch.answer(echo);
        for (index, address) in [(0, Ipv4Addr::BROADCAST), (3, Ipv4Addr::new(240, 0, 0, 1))] {
            // SAFETY: no reference into the storage exists; a socket without SO_BROADCAST may not send there.
            unsafe { (*batch.storage.as_ptr()).slots[index].peer.v4.sin_addr.s_addr = u32::from(address).to_be() };
        }
        assert_eq!(batch.send(&server), Sent { refused: 2, dropped: 0 });
        let answers: Vec<_> = (0..3).map(|_| received(&client)).collect();
        assert_eq!(answers, [[1], [2], [4]]);
    }

    #[test]
    fn the_interface_is_kept_for_link_local_addresses_only() {
        let cases = [
            ("2001:db8::1", CONTROL_BYTES_V6, 0),
            ("fe80::1", CONTROL_BYTES_V6, 7),
            // No packet can come from there: the kernel chooses the source.
            ("ff02::1", 0, 7),
        ];
        for (destination, bytes, interface) in cases {
            let mut control = [0; CONTROL_WORDS];
            let header: *mut libc::cmsghdr = control.as_mut_ptr().cast();
            // SAFETY: `control` is large enough and aligned for both.
            let info = unsafe {
                (*header).cmsg_level = libc::IPPROTO_IPV6;
                (*header).cmsg_type = libc::IPV6_PKTINFO;
                &mut *libc::CMSG_DATA(header).cast::<libc::in6_pktinfo>()
            };
            info.ipi6_addr.s6_addr = destination.parse::<Ipv6Addr>().unwrap().octets();
            info.ipi6_ifindex = 7;
            assert_eq!(source_from_destination(&mut control, CONTROL_BYTES_V6), bytes, "{destination}");
            // SAFETY: as above.
            let info = unsafe { &*libc::CMSG_DATA(control.as_mut_ptr().cast()).cast::<libc::in6_pktinfo>() };
            assert_eq!(info.ipi6_ifindex, interface, "{destination}");
        }
        let mut nothing = [0; CONTROL_WORDS];
        assert_eq!(source_from_destination(&mut nothing, 0), 0);
    }

    #[test]
    fn users_and_groups_are_found_by_name() {
        assert_eq!(user("root").unwrap(), Some(UserIds { uid: 0, gid: 0 }));
        assert_eq!(group("root").unwrap(), Some(0));
        for unknown in ["no-such-name-here", "", "with\0nul"] {
            assert_eq!(user(unknown).unwrap(), None, "{unknown:?}");
            assert_eq!(group(unknown).unwrap(), None, "{unknown:?}");
        }
    }
}
