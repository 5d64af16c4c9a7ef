// SPDX-License-Identifier: GPL-2.0

//! The machine that is measured on, in a line.

#![expect(unsafe_code, reason = "cpuid")]
#![allow(unused_unsafe, reason = "later Rust takes cpuid for safe")]

use std::arch::x86_64::__cpuid;
use std::thread;

use rustix::system::uname;

/// Kernel, number of processors, and who runs them.
pub(crate) fn describe() -> String {
    let uname = uname();
    let cpus = thread::available_parallelism().map_or(0, usize::from);
    format!(
        "Linux {}, {cpus} CPUs, {}",
        uname.release().to_string_lossy(),
        accelerator()
    )
}

fn accelerator() -> String {
    /// Bit of `ecx`: a hypervisor is there, and the leaf that names it.
    const HYPERVISOR: u32 = 1 << 31;
    const NAME: u32 = 0x4000_0000;
    // SAFETY: Every x86-64 processor has the instruction, and this leaf.
    let features = unsafe { __cpuid(1) };
    if features.ecx & HYPERVISOR == 0 {
        return "no hypervisor".to_owned();
    }
    // SAFETY: As above; the bit says that there is this leaf.
    let name = unsafe { __cpuid(NAME) };
    let bytes = [name.ebx, name.ecx, name.edx].map(u32::to_le_bytes);
    called(&bytes.concat())
}

/// What the twelve bytes stand for.
fn called(name: &[u8]) -> String {
    match name {
        b"KVMKVMKVM\0\0\0" => "KVM".to_owned(),
        b"TCGTCGTCGTCG" => "emulated by QEMU (TCG)".to_owned(),
        other => String::from_utf8_lossy(other).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hypervisors_have_names() {
        assert_eq!(called(b"KVMKVMKVM\0\0\0"), "KVM");
        assert_eq!(called(b"Microsoft Hv"), "Microsoft Hv");
        assert!(describe().starts_with("Linux "));
    }
}
