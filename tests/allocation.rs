//! Answering allocates nothing: every query of the case files, counted by the allocator.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

#[path = "cases/file.rs"]
#[allow(dead_code, reason = "what is expected of the answers is another test's matter")]
mod file;
#[path = "cases/folder.rs"]
mod folder;
#[path = "cases/pure.rs"]
mod pure;
#[path = "cases/request.rs"]
#[allow(dead_code, reason = "likewise")]
mod request;
mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use meridian::dns::Transport;
use meridian::health::overrides::Word;

use crate::file::CaseFile;
use crate::pure::Core;

/// Calls counted for each query.
const CALLS: u32 = 1000;
/// The same with an operator's word on every service.
const CALLS_UNDER_A_WORD: u32 = 100;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, counting for each thread what it is asked for.
struct Counting;

// SAFETY: every call goes to the system's allocator as it came; counting touches no memory but the thread's own.
#[allow(unsafe_code, reason = "an allocator can't be written otherwise")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(run: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    run();
    ALLOCATIONS.get() - before
}

#[test]
fn allocations_are_counted() {
    assert_eq!(allocations(|| drop(std::hint::black_box(Box::new(1)))), 1);
}

#[test]
fn answering_allocates_nothing() {
    let mut failures = Vec::new();
    let mut queries = 0;
    for file in CaseFile::load_all() {
        let mut core = Core::load(&file).unwrap_or_else(|problem| panic!("{}: {problem}", file.name));
        for (word, calls) in
            [(None, CALLS), (Some(Word::Up), CALLS_UNDER_A_WORD), (Some(Word::Down), CALLS_UNDER_A_WORD)]
        {
            word.into_iter().for_each(|word| core.obey(word));
            for case in &file.cases {
                let request = request::octets(case, 1);
                for transport in Transport::ALL {
                    let count = allocations(|| {
                        for _ in 0..calls {
                            core.respond(&request, case.peer, transport);
                        }
                    });
                    if count > 0 {
                        let said = word.map_or("nothing", Word::name);
                        let (case, transport) = (case.title(), transport.name());
                        failures.push(format!("{}: {case} ({transport}), {said} said of services: {count}", file.name));
                    }
                    queries += 1;
                }
            }
        }
    }
    assert!(queries > 0, "no case was found");
    assert!(failures.is_empty(), "allocations in up to {CALLS} calls each:\n{}", failures.join("\n"));
}
