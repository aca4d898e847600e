// SPDX-License-Identifier: MIT
//! Rust names: a module and a generic function, each with work that shows.

mod warehouse {
    extern "C" {
        fn mmap(at: *mut u8, len: usize, prot: i32, flags: i32, fd: i32, off: i64) -> *mut u8;
    }

    #[inline(never)]
    pub fn take(pages: usize) -> *mut u8 {
        // PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS
        let p = unsafe { mmap(std::ptr::null_mut(), pages * 4096, 3, 0x22, -1, 0) };
        assert!(p as isize != -1);
        p
    }

    #[inline(never)]
    pub fn fill<T: Into<u8> + Copy>(p: *mut u8, pages: usize, with: T) -> usize {
        for i in 0..pages {
            unsafe { std::ptr::write_volatile(p.add(i * 4096), with.into()) };
        }
        pages
    }
}

fn main() {
    let p = warehouse::take(77);
    std::process::exit((warehouse::fill(p, 77, 1u8) != 77) as i32);
}
