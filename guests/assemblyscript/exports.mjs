// A transform of the AssemblyScript compiler: the names of exports, and the section that describes them.

import { readFileSync } from "node:fs";
import { Transform } from "assemblyscript/transform";

export default class extends Transform {
  afterCompile(module) {
    const description = readFileSync(new URL("functions.json", import.meta.url));
    for (const { name } of JSON.parse(description).functions) {
      module.removeExport(`work_${name}`);
      module.addFunctionExport(`guest/work_${name}`, `stockade:${name}`);
    }
    module.addCustomSection("stockade", description);
  }
}
