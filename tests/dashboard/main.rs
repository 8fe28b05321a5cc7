//! The dashboard's pages over real sockets, before doubles of what they are made from.
#![cfg(test)]

mod client;
mod doubles;
mod entering;
mod hostile_texts;
mod keys;
mod operators;
mod pages;
mod sealed;
