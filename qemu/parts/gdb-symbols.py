# SPDX-License-Identifier: GPL-2.0
"""Read by gdb (see qemu/gdb): the kernel's lx-symbols, in a way that today's gdb allows.

lx-symbols adds a module's symbols from within the test of its breakpoint, where gdb takes the target for running and
refuses. Here the target stops there, the symbols are added once it has, and it goes on by itself.
"""

import gdb
import linux.symbols


def stop(self):
    module = gdb.parse_and_eval("mod")
    name = module["name"].string()
    number = int(module.address if module.type.code != gdb.TYPE_CODE_PTR else module)

    def load():
        self.gdb_command.module_files_updated = False
        if name in self.gdb_command.loaded_modules:
            self.gdb_command.load_all_symbols()
        else:
            self.gdb_command.load_module_symbols(gdb.parse_and_eval(f"*(struct module *){number}"))
        gdb.execute("continue")

    gdb.post_event(load)
    return True


linux.symbols.LoadModuleBreakpoint.stop = stop
