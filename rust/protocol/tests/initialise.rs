// SPDX-License-Identifier: GPL-2.0

//! What is called for blocks that become a file's, whatever fails on the way.

use core::num::NonZeroUsize;
use protocol::initialise::{
    Blocks,
    Extent,
    Fill,
    Fresh,
    Metadata,
    New,
    Written,
    Zero, //
};
use std::cell::RefCell;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Call {
    Zero,
    Copy,
    Shorten(usize),
    ZeroRest(usize),
    Create,
    Insert,
    InsertUnwritten,
    GiveBack,
}

/// Blocks whose calls are recorded, of which one may fail.
struct Recorded<'a> {
    calls: &'a RefCell<Vec<Call>>,
    fails: Option<Call>,
}

impl Recorded<'_> {
    fn call(&self, call: Call) -> Result<(), Call> {
        self.calls.borrow_mut().push(call.clone());
        match &self.fails {
            Some(fails) if *fails == call => Err(call),
            _ => Ok(()),
        }
    }
}

impl Blocks for Recorded<'_> {
    type Extent = ();
    type Error = Call;

    fn insert(&mut self) -> Result<(), Call> {
        self.call(Call::Insert)
    }

    fn give_back(&mut self) {
        let _ = self.call(Call::GiveBack);
    }
}

impl New for Recorded<'_> {
    fn insert_unwritten(&mut self) -> Result<(), Call> {
        self.call(Call::InsertUnwritten)
    }
}

impl Zero for Recorded<'_> {
    fn zero(&mut self) -> Result<(), Call> {
        self.call(Call::Zero)
    }
}

impl Fill<usize> for Recorded<'_> {
    fn copy(&mut self, data: usize) -> Result<usize, Call> {
        self.call(Call::Copy)?;
        Ok(data)
    }

    fn shorten(&mut self, copied: NonZeroUsize) {
        let _ = self.call(Call::Shorten(copied.get()));
    }

    fn zero_rest(&mut self, copied: NonZeroUsize) -> Result<(), Call> {
        self.call(Call::ZeroRest(copied.get()))
    }
}

impl Metadata for Recorded<'_> {
    fn create(&mut self, _bytes: &[u8]) -> Result<(), Call> {
        self.call(Call::Create)
    }
}

/// Goes a way on which these are called, and then with each of them failing.
fn goes(way: impl Fn(Fresh<Recorded<'_>>) -> Result<(), Call>, expected: &[Call]) {
    let run = |fails: Option<Call>| {
        let calls = RefCell::default();
        let result = way(Fresh::new(Recorded {
            calls: &calls,
            fails,
        }));
        (calls.take(), result)
    };
    assert_eq!(run(None), (expected.to_vec(), Ok(())));
    let can_fail = |call: &&Call| !matches!(call, Call::Shorten(_));
    for fails in expected.iter().filter(can_fail) {
        let n = expected.iter().position(|call| call == fails).unwrap();
        let mut calls = expected[..=n].to_vec();
        calls.push(Call::GiveBack);
        assert_eq!(run(Some(fails.clone())), (calls, Err(fails.clone())));
    }
}

#[test]
fn what_fails_is_given_back_once() {
    goes(
        |fresh| fresh.zero()?.insert().map(drop),
        &[Call::Zero, Call::Insert],
    );
    goes(
        |fresh| fresh.journal(b"bytes")?.insert().map(drop),
        &[Call::Create, Call::Insert],
    );
    goes(|fresh| fresh.insert_unwritten(), &[Call::InsertUnwritten]);
    goes(
        |fresh| {
            let (_, copied) = fresh.fill(7)?.unwrap().insert()?;
            assert_eq!(copied.get(), 7);
            Ok(())
        },
        &[
            Call::Copy,
            Call::Shorten(7),
            Call::ZeroRest(7),
            Call::Insert,
        ],
    );
}

#[test]
fn what_is_dropped_is_given_back_once() {
    let calls = RefCell::default();
    let fresh = || {
        Fresh::new(Recorded {
            calls: &calls,
            fails: None,
        })
    };
    drop(fresh());
    assert_eq!(calls.take(), [Call::GiveBack]);
    drop(fresh().zero());
    assert_eq!(calls.take(), [Call::Zero, Call::GiveBack]);
    assert!(fresh().fill(0).unwrap().is_none());
    assert_eq!(calls.take(), [Call::Copy, Call::GiveBack]);
}

#[test]
fn only_what_is_written_is_found() {
    #[derive(Debug, PartialEq)]
    struct Found(bool);

    impl Extent for Found {
        fn is_written(&self) -> bool {
            self.0
        }
    }

    let written = Written::found(Found(true)).map(Written::into_extent);
    assert_eq!(written, Ok(Found(true)));
    assert_eq!(Written::found(Found(false)).err(), Some(Found(false)));
    let Ok(written) = Written::found(Found(true)) else {
        return;
    };
    let mapped = written.map(|Found(is_written)| Ok::<_, ()>(is_written));
    assert_eq!(mapped.map(Written::into_extent), Ok(true));
}
