//! Numbers of the system calls that `teu-init` makes (asm/unistd.h of Linux 6.18).

macro_rules! numbers {
    ($($name:ident $x86_64:literal $aarch64:literal)+) => {
        $(
            #[cfg(target_arch = "x86_64")]
            pub(super) const $name: usize = $x86_64;
            #[cfg(target_arch = "aarch64")]
            pub(super) const $name: usize = $aarch64;
        )+
    };
}

numbers! {
    READ 0 63
    WRITE 1 64
    MMAP 9 222
    RT_SIGACTION 13 134
    RT_SIGPROCMASK 14 135
    IOCTL 16 29
    SOCKET 41 198
    SENDTO 44 206
    RECVFROM 45 207
    SENDMSG 46 211
    EXECVE 59 221
    GETCWD 79 17
    CHDIR 80 49
    FCHDIR 81 50
    FCHMOD 91 52
    FCHOWN 93 55
    UMASK 95 166
    SETSID 112 157
    SETGROUPS 116 159
    SETRESUID 117 147
    SETRESGID 119 149
    CAPSET 126 91
    PERSONALITY 135 92
    FSTATFS 138 44
    PIVOT_ROOT 155 41
    PRCTL 157 167
    MOUNT 165 40
    UMOUNT2 166 39
    SETHOSTNAME 170 161
    SETDOMAINNAME 171 162
    KEYCTL 250 219
    SCHED_SETAFFINITY 203 122
    EXIT_GROUP 231 94
    SET_MEMPOLICY 238 237
    IOPRIO_SET 251 30
    CLOSE 3 57
    OPENAT 257 56
    MKDIRAT 258 34
    MKNODAT 259 33
    FCHOWNAT 260 54
    UNLINKAT 263 35
    SYMLINKAT 266 36
    READLINKAT 267 78
    PPOLL 271 73
    UNSHARE 272 97
    DUP3 292 24
    PRLIMIT64 302 261
    SCHED_SETATTR 314 274
    SETNS 308 268
    STATX 332 291
    OPEN_TREE 428 428
    MOVE_MOUNT 429 429
    FSOPEN 430 430
    FSCONFIG 431 431
    FSMOUNT 432 432
    CLONE3 435 435
    CLOSE_RANGE 436 436
    OPENAT2 437 437
    FACCESSAT2 439 439
    MOUNT_SETATTR 442 442
}
