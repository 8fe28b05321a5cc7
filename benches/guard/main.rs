//! How many instructions the stages of a request take, each run many times over what is ready for it.
//!
//! Counted by callgrind, so that neither the machine's speed nor its load is in it. What is drawn at random, or done now
//! and then by the clock (a cache's upkeep, a thread that writes behind), is spread over so many requests that it is
//! far below what `scripts/guard` tolerates. The number in each benchmark's id is how many; `scripts/guard` divides by it.

mod answers;
mod book;
mod door;
mod editor;

use std::hint::black_box;

use answers::{Document, Stream};
use book::Book;
use door::Door;
use editor::Editor;
use gungraun::{Callgrind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main};

/// The one that cfx runs with.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[library_benchmark]
#[bench::x1000(Door::open())]
fn admit(door: Door) -> Door {
    (0..1_000).for_each(|_| door.admit());
    door
}

#[library_benchmark]
#[bench::x100(Editor::of(2 * 1_024))]
fn rewrite_2k(editor: Editor) -> Editor {
    (0..100).for_each(|_| drop(black_box(editor.rewrite())));
    editor
}

#[library_benchmark]
#[bench::x100(Editor::of(100 * 1_024))]
fn rewrite_100k(editor: Editor) -> Editor {
    (0..100).for_each(|_| drop(black_box(editor.rewrite())));
    editor
}

#[library_benchmark]
#[bench::x10(Stream::begin())]
fn tap_stream(stream: Stream) -> Stream {
    let mut stream = stream;
    (0..10).for_each(|_| stream.pass());
    stream
}

#[library_benchmark]
#[bench::x100(Document::of_text())]
fn tap_json(document: Document) -> Document {
    (0..100).for_each(|_| document.pass());
    document
}

#[library_benchmark]
#[bench::x100(Document::of_numbers())]
fn tap_embeddings(document: Document) -> Document {
    (0..100).for_each(|_| document.pass());
    document
}

#[library_benchmark]
#[bench::x1000(Book::open())]
fn record(book: Book) -> Book {
    let mut book = book;
    (0..1_000).for_each(|_| book.record());
    book
}

library_benchmark_group!(
    name = stages,
    benchmarks = [admit, rewrite_2k, rewrite_100k, tap_stream, tap_json, tap_embeddings, record]
);

main!(
    config = LibraryBenchmarkConfig::default().tool(Callgrind::with_args(["--cache-sim=no"])),
    library_benchmark_groups = stages
);
