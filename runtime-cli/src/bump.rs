//! An allocator for a process that ends soon: memory is handed out from the front of a chunk, and only the last block
//! can be taken back or grown in place.
//!
//! A command lives for less than a millisecond, of which musl's allocator takes 30 µs to start and 80 µs when a
//! config.json is parsed (5 to 10 % of the whole). The price of this one is that freed memory stays in use; large blocks,
//! which would make that felt, go to the system's allocator.
//! There is no lock: a thread that stops anywhere in here stops nobody else.
#![allow(unsafe_code, reason = "an allocator hands out raw memory")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

/// The size of a chunk in bytes. Pages of it that nobody touches cost nothing.
const CHUNK: usize = 256 * 1024;

/// Blocks of more bytes go to the system's allocator, so that a chunk's rest that is given up is small.
const LARGEST: usize = 16 * 1024;

/// What malloc(3) promises for every block, and what code that fills byte buffers for the kernel relies on (control messages).
const SMALLEST_ALIGN: usize = 16;

/// Chunks begin on a page, so an offset that is aligned up to this is an address that is.
const LARGEST_ALIGN: usize = 4096;

/// The beginning of a chunk; the rest is the memory that it hands out.
#[derive(Debug)]
struct Chunk {
    /// How many bytes from the beginning of the chunk are handed out, this header included.
    used: AtomicUsize,
}

/// The allocator.
#[derive(Debug)]
pub(crate) struct Bump {
    /// The chunk that blocks come from; null before the first. Chunks are never unmapped once they have been here.
    current: AtomicPtr<Chunk>,
}

impl Bump {
    pub(crate) const fn new() -> Self {
        Self { current: AtomicPtr::new(ptr::null_mut()) }
    }

    /// The current chunk, if `block` is in it, and the offset of `block`.
    fn find(&self, block: *mut u8) -> Option<(&Chunk, usize)> {
        let chunk = self.current.load(Ordering::Acquire);
        let offset = block.addr().checked_sub(chunk.addr())?;
        if chunk.is_null() || offset >= CHUNK {
            return None;
        }
        // SAFETY: a chunk that has been `current` stays mapped, its header has been written, and is only ever shared.
        Some((unsafe { &*chunk }, offset))
    }

    /// Makes a new chunk the current one, unless another thread has replaced `full` already. False without memory.
    fn replace(&self, full: *mut Chunk) -> bool {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new anonymous mapping at an address of the kernel's choice touches no other memory.
        let memory = unsafe { libc::mmap(ptr::null_mut(), CHUNK, access, flags, -1, 0) };
        if memory == libc::MAP_FAILED {
            return false;
        }
        let chunk = memory.cast::<Chunk>();
        let header = Chunk { used: AtomicUsize::new(size_of::<Chunk>()) };
        // SAFETY: the mapping is writable, page-aligned, larger than the header, and nobody else knows it.
        unsafe { chunk.write(header) };
        if self.current.compare_exchange(full, chunk, Ordering::AcqRel, Ordering::Acquire).is_err()
        {
            // SAFETY: the mapping was not published, so nothing points into it.
            unsafe { libc::munmap(memory, CHUNK) };
        }
        true
    }
}

impl Chunk {
    /// The offset of a new block, if it fits.
    fn take(&self, layout: Layout) -> Option<usize> {
        let mut used = self.used.load(Ordering::Acquire);
        loop {
            let start = used.checked_next_multiple_of(layout.align().max(SMALLEST_ALIGN))?;
            let end = start.checked_add(layout.size()).filter(|&end| end <= CHUNK)?;
            match self.used.compare_exchange_weak(used, end, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(start),
                Err(found) => used = found,
            }
        }
    }

    /// Moves the end of the last block from `old` to `new`. False where another block is the last, or where it does not fit.
    fn move_end(&self, old: usize, new: usize) -> bool {
        new <= CHUNK
            && self.used.compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// Whether blocks of this layout come from a chunk. Callers give the layout back with the block, so this also tells
/// where a block came from.
fn is_small(layout: Layout) -> bool {
    layout.size() <= LARGEST && layout.align() <= LARGEST_ALIGN
}

// SAFETY: a small block is a range of a chunk that no other live block overlaps, because `Chunk::take` moves the end of
// the used part past it in one step and only the owner of the last block moves it back; all others are the system's.
unsafe impl GlobalAlloc for Bump {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !is_small(layout) {
            // SAFETY: the caller's promise about `layout` is passed on.
            return unsafe { System.alloc(layout) };
        }
        loop {
            let chunk = self.current.load(Ordering::Acquire);
            // SAFETY: it is null, or a chunk that stays mapped and whose header has been written.
            if let Some(offset) = unsafe { chunk.as_ref() }.and_then(|chunk| chunk.take(layout)) {
                // SAFETY: `take` returns offsets inside of the chunk.
                return unsafe { chunk.cast::<u8>().add(offset) };
            }
            if !self.replace(chunk) {
                return ptr::null_mut();
            }
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if !is_small(layout) {
            // SAFETY: a block of this layout came from the system; the caller's promises are passed on.
            return unsafe { System.dealloc(block, layout) };
        }
        if let Some((chunk, offset)) = self.find(block) {
            // A block that is not the last one stays in use.
            chunk.move_end(offset + layout.size(), offset);
        }
    }

    unsafe fn realloc(&self, block: *mut u8, old: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller promises that `size`, rounded up to the alignment, does not overflow.
        let new = unsafe { Layout::from_size_align_unchecked(size, old.align()) };
        match (is_small(old), is_small(new)) {
            // SAFETY: the block came from the system and stays there; the caller's promises are passed on.
            (false, false) => return unsafe { System.realloc(block, old, size) },
            (true, true) => {
                let grown = self.find(block).is_some_and(|(chunk, offset)| {
                    chunk.move_end(offset + old.size(), offset + size)
                });
                if grown || size <= old.size() {
                    return block;
                }
            }
            (true, false) | (false, true) => {}
        }
        // SAFETY: the caller promises that `size` is not zero.
        let moved = unsafe { self.alloc(new) };
        if !moved.is_null() {
            // SAFETY: both blocks have this many bytes, and a new block overlaps no other.
            unsafe { ptr::copy_nonoverlapping(block, moved, old.size().min(size)) };
            // SAFETY: the caller gives `block` up, and `old` is its layout.
            unsafe { self.dealloc(block, old) };
        }
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A block filled with one byte, checked whenever it moves or goes away.
    struct Block<'a> {
        bump: &'a Bump,
        start: *mut u8,
        layout: Layout,
        fill: u8,
    }

    impl<'a> Block<'a> {
        fn new(bump: &'a Bump, size: usize, align: usize, fill: u8) -> Self {
            let layout = Layout::from_size_align(size, align).unwrap();
            // SAFETY: no test asks for zero bytes.
            let start = unsafe { bump.alloc(layout) };
            assert!(!start.is_null());
            assert_eq!(start.addr() % align.max(SMALLEST_ALIGN), 0);
            let block = Self { bump, start, layout, fill };
            block.write();
            block
        }

        fn write(&self) {
            // SAFETY: the block has this many bytes and belongs to this value alone.
            unsafe { self.start.write_bytes(self.fill, self.layout.size()) };
        }

        fn check(&self, size: usize) {
            // SAFETY: the block has at least `size` bytes, and `write` has written them.
            let bytes = unsafe { std::slice::from_raw_parts(self.start, size) };
            assert!(bytes.iter().all(|&byte| byte == self.fill));
        }

        /// Changes the size; whether the block stayed where it was.
        fn resize(&mut self, size: usize) -> bool {
            let before = self.start;
            // SAFETY: the block is live, this is its layout, and no test asks for zero bytes.
            self.start = unsafe { self.bump.realloc(before, self.layout, size) };
            assert!(!self.start.is_null());
            self.check(size.min(self.layout.size()));
            self.layout = Layout::from_size_align(size, self.layout.align()).unwrap();
            self.write();
            self.start == before
        }
    }

    impl Drop for Block<'_> {
        fn drop(&mut self) {
            self.check(self.layout.size());
            // SAFETY: the block is live, and this is its layout.
            unsafe { self.bump.dealloc(self.start, self.layout) };
        }
    }

    #[test]
    fn blocks_are_aligned_and_do_not_overlap() {
        let bump = Bump::new();
        let mut blocks = Vec::new();
        for round in 0..40_u8 {
            for (size, align) in [(1, 1), (3, 2), (24, 8), (100, 64), (5000, 4096), (16384, 16)] {
                blocks.push(Block::new(&bump, size, align, round));
            }
        }
        // More than one chunk has been filled; dropping checks the content of every block.
        assert!(blocks.iter().map(|block| block.layout.size()).sum::<usize>() > 3 * CHUNK);
    }

    #[test]
    fn the_last_block_grows_shrinks_and_goes_in_place() {
        let bump = Bump::new();
        let mut block = Block::new(&bump, 10, 8, 1);
        let start = block.start;
        assert!(block.resize(1000));
        assert!(block.resize(LARGEST));
        assert!(block.resize(SMALLEST_ALIGN));
        let next = Block::new(&bump, 8, 8, 2);
        assert_eq!(next.start.addr(), start.addr() + SMALLEST_ALIGN);
        drop(next);
        drop(block);
        assert_eq!(Block::new(&bump, 1, 1, 3).start, start);
    }

    #[test]
    fn another_block_moves_to_grow() {
        let bump = Bump::new();
        let mut first = Block::new(&bump, 10, 1, 1);
        let second = Block::new(&bump, 10, 1, 2);
        assert!(first.resize(4));
        assert!(!first.resize(100));
        assert!(second.start < first.start);
    }

    #[test]
    fn a_block_at_the_end_of_a_chunk_moves_to_the_next() {
        let bump = Bump::new();
        let mut blocks: Vec<_> =
            (0..).map_while(|_| room(&bump).then(|| Block::new(&bump, LARGEST, 1, 1))).collect();
        assert!(blocks.len() > 10);
        let mut last = Block::new(&bump, 1, 1, 2);
        let chunk = bump.current.load(Ordering::Acquire);
        assert!(!last.resize(LARGEST));
        assert_ne!(bump.current.load(Ordering::Acquire), chunk);
        blocks.push(last);
    }

    /// Whether a largest block fits into the current chunk, or there is none yet.
    fn room(bump: &Bump) -> bool {
        // SAFETY: it is null, or a chunk that stays mapped and whose header has been written.
        match unsafe { bump.current.load(Ordering::Acquire).as_ref() } {
            Some(chunk) => chunk.used.load(Ordering::Acquire) + LARGEST <= CHUNK,
            None => true,
        }
    }

    #[test]
    fn large_blocks_belong_to_the_system() {
        let bump = Bump::new();
        let mut block = Block::new(&bump, LARGEST + 1, 8, 1);
        let aligned = Block::new(&bump, 8, 2 * LARGEST_ALIGN, 2);
        assert!(bump.current.load(Ordering::Acquire).is_null());
        block.resize(10 * LARGEST);
        assert!(bump.current.load(Ordering::Acquire).is_null());
        assert!(!block.resize(LARGEST));
        assert!(bump.find(block.start).is_some());
        assert!(!block.resize(LARGEST + 1));
        assert!(bump.find(block.start).is_none());
        drop(aligned);
    }

    #[test]
    fn zeroed_blocks_are_zero_where_memory_was_used_before() {
        let bump = Bump::new();
        drop(Block::new(&bump, 64, 8, 0xff));
        let layout = Layout::from_size_align(64, 8).unwrap();
        // SAFETY: the layout is not of zero bytes.
        let start = unsafe { bump.alloc_zeroed(layout) };
        let block = Block { bump: &bump, start, layout, fill: 0 };
        block.check(64);
    }

    #[test]
    fn threads_share_it() {
        let bump = Bump::new();
        std::thread::scope(|scope| {
            for fill in 0..8 {
                let bump = &bump;
                scope.spawn(move || {
                    let mut kept = Vec::new();
                    for size in 1..400 {
                        let mut block = Block::new(bump, size, 8, fill);
                        block.resize(2 * size);
                        drop(Block::new(bump, size, 1, fill + 100));
                        kept.push(block);
                    }
                });
            }
        });
    }
}
