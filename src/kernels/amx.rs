//! Matrix units (AMX): 16 x 16 sums a register, tiles of up to 32 rows x 32 columns.
//!
//! The intrinsics are not stable in Rust yet: two loops of assembly stand for them. int8 sums are
//! exact. bf16 sums follow the unit's order: even and odd elements of a step apart, then joined.

use std::arch::{
    asm,
    x86_64::{__cpuid_count, _xgetbv},
};
use std::sync::LazyLock;

use super::words::{Block, WORDS};

/// Every number of rows up to two registers' is a tile.
pub(super) const HEIGHTS: [usize; 32] = {
    let mut heights = [0; 32];
    let mut at = 0;
    while at < 32 {
        heights[at] = 32 - at;
        at += 1;
    }
    heights
};

/// Steps of a block: 32 KiB of the right operand stay in the first-level cache, which rows pass by.
pub(super) const BLOCK_STEPS: usize = 16;

/// What the units of this processor multiply, as far as the operating system lets this process.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Units {
    /// int8 x int8 -> i32.
    pub(super) int8: bool,
    /// bf16 x bf16 -> f32.
    pub(super) bf16: bool,
}

/// Returns the units this process may use, after asking for them once.
pub(super) fn units() -> Units {
    static UNITS: LazyLock<Units> = LazyLock::new(|| {
        let features = __cpuid_count(7, 0).edx;
        let has = |bit: u32| features >> bit & 1 == 1;
        let (bf16, tile, int8) = (has(22), has(24), has(25));
        if tile && (bf16 || int8) && is_state_saved() && is_permitted() {
            Units { int8, bf16 }
        } else {
            Units::default()
        }
    });
    *UNITS
}

/// Whether the operating system saves the tile registers of a thread.
fn is_state_saved() -> bool {
    const TILES: u64 = 0b11 << 17;
    // Feature bit 27 of leaf 1: the operating system has enabled `xgetbv`.
    if __cpuid_count(1, 0).ecx >> 27 & 1 == 0 {
        return false;
    }
    // SAFETY: `xgetbv` of register 0 is there, as just read.
    unsafe { _xgetbv(0) & TILES == TILES }
}

/// Asks Linux for the tile registers, for all threads of this process.
#[cfg(target_os = "linux")]
fn is_permitted() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const REQUEST_PERMISSION: i64 = 0x1023;
    const TILE_DATA: i64 = 18;
    let answer: i64;
    // SAFETY: this system call reads its two numbers and writes no memory of this process; the
    // registers it changes are named.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => answer,
            in("rdi") REQUEST_PERMISSION, in("rsi") TILE_DATA,
            out("rcx") _, out("r11") _,
            options(nostack),
        );
    }
    answer == 0
}

/// No other system has been tried.
#[cfg(not(target_os = "linux"))]
fn is_permitted() -> bool {
    false
}

/// The shapes of the eight tile registers.
#[repr(C, align(64))]
struct Shapes([u8; 64]);

/// Shapes for each number of rows: sums in 0 to 3, rows in 4 and 5, columns in 6 and 7.
static SHAPES: [Shapes; 33] = {
    let mut all = [const { Shapes([0; 64]) }; 33];
    let mut rows = 1;
    while rows <= 32 {
        let low = if rows < 16 { rows } else { 16 };
        // Registers that a tile of up to 16 rows leaves alone need a shape all the same.
        let high = if rows > 16 { rows - 16 } else { 1 };
        let heights = [low, low, high, high, low, high, 16, 16];
        all[rows].0[0] = 1;
        let mut register = 0;
        while register < 8 {
            all[rows].0[16 + 2 * register] = 64;
            all[rows].0[48 + register] = heights[register].to_le_bytes()[0];
            register += 1;
        }
        rows += 1;
    }
    all
};

/// Writes one tile kernel; `$multiply` is its instruction.
macro_rules! tile {
    ($(#[$doc:meta])* $name:ident, $multiply:literal) => {
        $(#[$doc])*
        ///
        /// # Safety
        ///
        /// [`units`] has named this unit.
        pub(super) unsafe fn $name(block: Block<'_>) {
            let Block { a, tile_lines, height, b, ahead, sums } = block;
            let (steps, tiles) = (b.len() / WORDS, sums.len() / height.max(1));
            if steps == 0 || tiles == 0 {
                return;
            }
            assert!((1..=32).contains(&height), "no tile of {height} rows");
            assert!(a.len() >= (tiles - 1) * tile_lines + steps * height, "tile: lines");
            assert!(tile_lines >= steps * height, "tile: distance of tiles");
            let lines = (ahead.len() * 2).div_ceil(steps * tiles).max(1);
            // Without anything to come, what is here is named again.
            let ahead = if ahead.is_empty() { b.as_ptr() } else { ahead.as_ptr() };
            // The sums of the lower rows are stored and loaded at `low`, of the upper ones 2 KiB
            // behind, where there are more than 16.
            if height > 16 {
                // SAFETY: the unit is there (the caller's promise). Read are `steps * height` lines
                // of each tile of `a` (asserted), `steps * 16` pairs of `b` and the shapes; read
                // and written `tiles * height` pairs of sums. Fetching ahead may name any
                // address. The tile registers are no one else's: they are released at the end.
                unsafe {
                    asm!(
                        "ldtilecfg [{shapes}]",
                        "4:",
                        "tileloadd tmm0, [{low} + {n}*2]",
                        "tileloadd tmm1, [{low} + {n}*2 + 64]",
                        "tileloadd tmm2, [{low} + {n}*2 + 2048]",
                        "tileloadd tmm3, [{low} + {n}*2 + 2112]",
                        "2:",
                        "tileloadd tmm6, [{b} + {n}*2]",
                        "tileloaddt1 tmm4, [{a} + {n}]",
                        concat!($multiply, " tmm0, tmm4, tmm6"),
                        "tileloadd tmm7, [{b} + {n}*2 + 64]",
                        concat!($multiply, " tmm1, tmm4, tmm7"),
                        "tileloaddt1 tmm5, [{a} + {n} + 1024]",
                        concat!($multiply, " tmm2, tmm5, tmm6"),
                        concat!($multiply, " tmm3, tmm5, tmm7"),
                        "add {a}, {row_bytes}",
                        "add {b}, 2048",
                        "mov {shapes}, {lines}",
                        "3:",
                        "prefetcht1 [{ahead}]",
                        "add {ahead}, 64",
                        "dec {shapes}",
                        "jnz 3b",
                        "cmp {b}, {b_end}",
                        "jne 2b",
                        "tilestored [{low} + {n}*2], tmm0",
                        "tilestored [{low} + {n}*2 + 64], tmm1",
                        "tilestored [{low} + {n}*2 + 2048], tmm2",
                        "tilestored [{low} + {n}*2 + 2112], tmm3",
                        "lea {low}, [{low} + {row_bytes}*2]",
                        "add {a}, {gap}",
                        "sub {b}, {b_bytes}",
                        "dec {tiles}",
                        "jnz 4b",
                        "tilerelease",
                        shapes = inout(reg) &SHAPES[height] => _,
                        low = inout(reg) sums.as_mut_ptr() => _,
                        a = inout(reg) a.as_ptr() => _,
                        gap = in(reg) (tile_lines - steps * height) * 64,
                        b = inout(reg) b.as_ptr() => _,
                        b_end = in(reg) b.as_ptr().wrapping_add(steps * WORDS),
                        b_bytes = in(reg) steps * 2048,
                        ahead = inout(reg) ahead => _,
                        lines = in(reg) lines,
                        tiles = inout(reg) tiles => _,
                        row_bytes = in(reg) height * 64,
                        n = in(reg) 64_usize,
                        options(nostack),
                    );
                }
            } else {
                // SAFETY: as above, with up to 16 rows a tile.
                unsafe {
                    asm!(
                        "ldtilecfg [{shapes}]",
                        "4:",
                        "tileloadd tmm0, [{low} + {n}*2]",
                        "tileloadd tmm1, [{low} + {n}*2 + 64]",
                        "2:",
                        "tileloadd tmm6, [{b} + {n}*2]",
                        "tileloaddt1 tmm4, [{a} + {n}]",
                        concat!($multiply, " tmm0, tmm4, tmm6"),
                        "tileloadd tmm7, [{b} + {n}*2 + 64]",
                        concat!($multiply, " tmm1, tmm4, tmm7"),
                        "add {a}, {row_bytes}",
                        "add {b}, 2048",
                        "mov {shapes}, {lines}",
                        "3:",
                        "prefetcht1 [{ahead}]",
                        "add {ahead}, 64",
                        "dec {shapes}",
                        "jnz 3b",
                        "cmp {b}, {b_end}",
                        "jne 2b",
                        "tilestored [{low} + {n}*2], tmm0",
                        "tilestored [{low} + {n}*2 + 64], tmm1",
                        "lea {low}, [{low} + {row_bytes}*2]",
                        "add {a}, {gap}",
                        "sub {b}, {b_bytes}",
                        "dec {tiles}",
                        "jnz 4b",
                        "tilerelease",
                        shapes = inout(reg) &SHAPES[height] => _,
                        low = inout(reg) sums.as_mut_ptr() => _,
                        a = inout(reg) a.as_ptr() => _,
                        gap = in(reg) (tile_lines - steps * height) * 64,
                        b = inout(reg) b.as_ptr() => _,
                        b_end = in(reg) b.as_ptr().wrapping_add(steps * WORDS),
                        b_bytes = in(reg) steps * 2048,
                        ahead = inout(reg) ahead => _,
                        lines = in(reg) lines,
                        tiles = inout(reg) tiles => _,
                        row_bytes = in(reg) height * 64,
                        n = in(reg) 64_usize,
                        options(nostack),
                    );
                }
            }
        }
    };
}

tile! {
    /// int8 words, i32 sums, exact.
    int8_tile, "tdpbssd"
}
tile! {
    /// bf16 words, f32 sums; subnormals count as zero.
    bf16_tile, "tdpbf16ps"
}
