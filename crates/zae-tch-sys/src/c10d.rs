//! PyTorch's library for processes that work together (c10d): [`TcpStore`] and [`Gloo`].
//!
//! As with the other functions of the crate their arguments are valid by type; what is longer than a call is owned here.
#![allow(unsafe_code)]

use std::{
    ffi::{c_int, c_void},
    marker::PhantomData,
    ptr::{self, NonNull},
    time::Duration,
};

use tch::Tensor;
use torch_sys::C_tensor;

use crate::{
    error::{Error, Result},
    ffi::{Status, raw},
};

unsafe extern "C" {
    safe fn zae_store_open(host: Bytes<'_>, port: u16, server: bool, timeout: u64, store: &mut *mut c_void) -> Status;
    fn zae_store_clone(store: Handle) -> *mut c_void;
    fn zae_store_again(store: Handle) -> *mut c_void;
    fn zae_store_give_up(store: Handle);
    fn zae_store_same(store: Handle, other: Handle) -> bool;
    fn zae_store_close(store: Handle);
    fn zae_store_set(store: Handle, key: Bytes<'_>, value: Bytes<'_>) -> Status;
    fn zae_store_set_first(store: Handle, key: Bytes<'_>, value: Bytes<'_>, there: &mut Answer) -> Status;
    fn zae_store_has(store: Handle, key: Bytes<'_>, has: &mut bool) -> Status;
    fn zae_store_get(store: Handle, key: Bytes<'_>, timeout: u64, value: &mut Answer) -> Status;
    fn zae_gloo_open(store: Handle, how: &RawOptions<'_>, gloo: &mut *mut c_void) -> Status;
    fn zae_gloo_close(gloo: Handle);
    fn zae_gloo_all_reduce_f32(gloo: Handle, first: *mut f32, length: usize) -> Status;
    fn zae_gloo_all_reduce(gloo: Handle, tensor: &C_tensor) -> Status;
    fn zae_gloo_all_gather(gloo: Handle, own: Bytes<'_>, all: *mut u8) -> Status;
    fn zae_gloo_broadcast(gloo: Handle, first: *mut u8, length: usize, from: c_int) -> Status;
}

pub(crate) type Handle = NonNull<c_void>;

/// The `Bytes` of the shim, lent for a call.
#[repr(C)]
struct Bytes<'a> {
    first: *const u8,
    length: usize,
    lent: PhantomData<&'a [u8]>,
}

impl<'a> Bytes<'a> {
    fn new(bytes: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        let bytes = bytes.as_ref();
        Self { first: bytes.as_ptr(), length: bytes.len(), lent: PhantomData }
    }
}

/// The `Bytes` of the shim, this thread's until the next answer.
#[repr(C)]
struct Answer {
    first: *const u8,
    length: usize,
}

/// What a call that succeeds has answered.
fn answered(call: impl FnOnce(&mut Answer) -> Status) -> Result<Vec<u8>> {
    let mut answer = Answer { first: ptr::null(), length: 0 };
    call(&mut answer).ok()?;
    if answer.length == 0 {
        return Ok(Vec::new());
    }
    // SAFETY: it has left so many bytes, which stay until the next call of this thread.
    Ok(unsafe { std::slice::from_raw_parts(answer.first, answer.length) }.to_vec())
}

pub(crate) fn opened(call: impl FnOnce(&mut *mut c_void) -> Status) -> Result<Handle> {
    let mut handle = ptr::null_mut();
    call(&mut handle).ok()?;
    Handle::new(handle).ok_or_else(|| Error("c10d has opened nothing and does not say why".to_owned()))
}

fn millis(time: Duration) -> u64 {
    // At least one, for 0 means something else there; at most a century, for more would overflow.
    time.as_millis().clamp(1, 100 * 365 * 24 * 3_600_000) as u64
}

/// c10d's store of keys and values, which one process serves to all. A clone is the same connection; any thread may use it, but
/// while one waits for an answer the others wait for it.
#[derive(Debug)]
pub struct TcpStore(Handle);

// SAFETY: c10d's store locks itself, and the handle is only given back.
unsafe impl Send for TcpStore {}
// SAFETY: as above.
unsafe impl Sync for TcpStore {}

impl TcpStore {
    /// Serves a store at this port (`server`), or connects to the one there. `timeout` is how long the server is waited for.
    ///
    /// # Errors
    /// When the port is taken, or the server is not there within the timeout.
    pub fn open(host: &str, port: u16, server: bool, timeout: Duration) -> Result<Self> {
        opened(|out| zae_store_open(Bytes::new(host), port, server, millis(timeout), out)).map(Self)
    }

    #[cfg(feature = "nccl")]
    pub(crate) fn handle(&self) -> Handle {
        self.0
    }

    /// The same connection for something else: [`TcpStore::give_up`] of the one does not concern the other.
    #[must_use]
    pub fn again(&self) -> Self {
        // SAFETY: here and below, the handle is open as long as `self` is there. A new one comes back, never null.
        Self(unsafe { NonNull::new_unchecked(zae_store_again(self.0)) })
    }

    /// Who opens a group with this one or a clone of it does not wait for the other ranks any more: it fails.
    pub fn give_up(&self) {
        unsafe { zae_store_give_up(self.0) }
    }

    /// Sets a key. The store answers nothing, so another connection may see it a moment later.
    ///
    /// # Errors
    /// When the server is gone.
    pub fn set(&self, key: &str, value: &[u8]) -> Result<()> {
        unsafe { zae_store_set(self.0, Bytes::new(key), Bytes::new(value)) }.ok()
    }

    /// Sets a key unless it is set. Returns what is there afterwards.
    ///
    /// # Errors
    /// When the server is gone.
    pub fn set_first(&self, key: &str, value: &[u8]) -> Result<Vec<u8>> {
        answered(|there| unsafe { zae_store_set_first(self.0, Bytes::new(key), Bytes::new(value), there) })
    }

    /// Whether a key is set.
    ///
    /// # Errors
    /// When the server is gone.
    pub fn has(&self, key: &str) -> Result<bool> {
        let mut has = false;
        unsafe { zae_store_has(self.0, Bytes::new(key), &mut has) }.ok().map(|()| has)
    }

    /// The value of a key, which is waited for. A server that is halted, not gone, is waited for longer than that: forever.
    ///
    /// # Errors
    /// When it is not set within the timeout, or the server is gone.
    pub fn get(&self, key: &str, timeout: Duration) -> Result<Vec<u8>> {
        answered(|value| unsafe { zae_store_get(self.0, Bytes::new(key), millis(timeout), value) })
    }
}

/// Whether they are the same connection.
impl PartialEq for TcpStore {
    fn eq(&self, other: &Self) -> bool {
        // SAFETY: both are open.
        unsafe { zae_store_same(self.0, other.0) }
    }
}

impl Clone for TcpStore {
    fn clone(&self) -> Self {
        // SAFETY: the handle is open, and a new one to the same store comes back, never null.
        Self(unsafe { NonNull::new_unchecked(zae_store_clone(self.0)) })
    }
}

impl Drop for TcpStore {
    fn drop(&mut self) {
        // SAFETY: it is open, and nobody uses it again.
        unsafe { zae_store_close(self.0) }
    }
}

/// Where and how a group of processes is made.
#[derive(Clone, Copy, Debug)]
pub struct GroupOptions<'a> {
    /// What its keys in the store begin with: another one for each group.
    pub prefix: &'a str,
    /// The number of this process, from 0.
    pub rank: usize,
    /// How many processes there are.
    pub world_size: usize,
    /// How long another rank is waited for, in each call.
    pub timeout: Duration,
    /// Where the others reach this process.
    pub at: GlooAddress<'a>,
}

/// Where a process is reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GlooAddress<'a> {
    /// By the address of a network interface of this name.
    Interface(&'a str),
    /// By this address, or that of this name, which must be one of this machine's.
    Host(&'a str),
}

/// The `GroupOptions` of the shim.
#[repr(C)]
pub(crate) struct RawOptions<'a> {
    prefix: Bytes<'a>,
    interface: Bytes<'a>,
    address: Bytes<'a>,
    rank: c_int,
    world_size: c_int,
    timeout: u64,
}

impl<'a> RawOptions<'a> {
    pub(crate) fn new(options: &GroupOptions<'a>) -> Result<Self> {
        let int =
            |number: usize| c_int::try_from(number).map_err(|e| Error(format!("{number} ranks are too many: {e}")));
        let (interface, address) = match options.at {
            GlooAddress::Interface(name) => (name, ""),
            GlooAddress::Host(name) => ("", name),
        };
        Ok(Self {
            prefix: Bytes::new(options.prefix),
            interface: Bytes::new(interface),
            address: Bytes::new(address),
            rank: int(options.rank)?,
            world_size: int(options.world_size)?,
            timeout: millis(options.timeout),
        })
    }
}

/// c10d's group of processes over Gloo. All make the same calls in the same order, with the same lengths: Gloo does not check
/// that, and ends the process of a rank that is sent more than it expects.
///
/// When a call fails the group is of no more use: drop it, which closes its connections, so that calls of the others fail too.
#[derive(Debug)]
pub struct Gloo {
    pub(crate) handle: Handle,
    world_size: usize,
}

// SAFETY: the group is used through exclusive references only, and belongs to no thread.
unsafe impl Send for Gloo {}

impl Gloo {
    /// Connects all ranks.
    ///
    /// # Errors
    /// When one of them does not come within the timeout, and when there is no such address or interface here.
    pub fn open(store: &TcpStore, options: &GroupOptions<'_>) -> Result<Self> {
        let raw = RawOptions::new(options)?;
        // SAFETY: the store is open.
        let handle = opened(|out| unsafe { zae_gloo_open(store.0, &raw, out) })?;
        Ok(Self { handle, world_size: options.world_size })
    }

    /// Each number becomes the sum over all ranks, in its place.
    ///
    /// # Errors
    /// Here and below: when a rank is gone, or does not come within the timeout.
    pub fn all_reduce_f32(&mut self, values: &mut [f32]) -> Result<()> {
        // SAFETY: here and below, the handle is open as long as `self` is there, and the call lasts until the memory is no
        // longer used.
        unsafe { zae_gloo_all_reduce_f32(self.handle, values.as_mut_ptr(), values.len()) }.ok()
    }

    /// Each number of a tensor becomes the sum over all ranks, in its place. Autograd does not hear of it.
    ///
    /// # Errors
    /// Also when c10d has no sum for tensors of this type, layout or device.
    pub fn all_reduce(&mut self, tensor: &mut Tensor) -> Result<()> {
        unsafe { zae_gloo_all_reduce(self.handle, raw(tensor)) }.ok()
    }

    /// What every rank gave, one after the other. All give equally much.
    ///
    /// # Errors
    /// As above.
    pub fn all_gather(&mut self, own: &[u8]) -> Result<Vec<u8>> {
        let length =
            own.len().checked_mul(self.world_size).ok_or_else(|| Error("this is too much to gather".to_owned()))?;
        let mut all = vec![0; length];
        // SAFETY: as above, and `all` is as long as it has to be.
        unsafe { zae_gloo_all_gather(self.handle, Bytes::new(own), all.as_mut_ptr()) }.ok()?;
        Ok(all)
    }

    /// `bytes` become those of rank `from`, of which there are equally many.
    ///
    /// # Errors
    /// As above.
    pub fn broadcast(&mut self, bytes: &mut [u8], from: usize) -> Result<()> {
        let root = c_int::try_from(from).map_err(|e| Error(format!("there is no rank {from}: {e}")))?;
        unsafe { zae_gloo_broadcast(self.handle, bytes.as_mut_ptr(), bytes.len(), root) }.ok()
    }
}

impl Drop for Gloo {
    fn drop(&mut self) {
        // SAFETY: it is open, and nobody uses it again.
        unsafe { zae_gloo_close(self.handle) }
    }
}
