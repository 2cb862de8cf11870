//! teu-init.
#![no_std]
