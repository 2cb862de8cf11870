//! teu.
fn main() {}
