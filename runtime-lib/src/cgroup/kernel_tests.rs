//! Against the kernel, as root.
