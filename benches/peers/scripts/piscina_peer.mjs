// piscina: trusted JavaScript functions, in threads of the same process.

import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

const require = createRequire(new URL("../.local/package.json", import.meta.url));
const { Piscina } = require("piscina");

const work = JSON.parse(process.argv[2]);
const figure = (row, unit, p50, p99) => console.log(JSON.stringify({ row, unit, p50, p99 }));
const now = () => performance.now() * 1000;

const times = (row, samples) => {
  samples.sort((a, b) => a - b);
  const at = (n) => samples[Math.min(Math.floor(n), samples.length - 1)];
  figure(row, "us", at(samples.length / 2), at((samples.length * 99) / 100));
};

const timed = async (calls, call) => {
  for (let warm = 0; warm < Math.floor(Math.min(calls, 100) / 10) + 1; warm++) await call();
  const samples = [];
  for (let done = 0; done < calls; done++) {
    const start = now();
    await call();
    samples.push(now() - start);
  }
  return samples;
};

const begin = now();
const pool = new Piscina({
  filename: fileURLToPath(new URL("piscina_worker.mjs", import.meta.url)),
  minThreads: work.workers,
  maxThreads: work.workers,
});
const check = (right) => {
  if (!right) throw new Error("a wrong answer");
};
const add = async () => check((await pool.run({ a: 1, b: 2 }, { name: "add" })) === 3);

await add();
times("first_call", [now() - begin]);
times("warm", await timed(work.small, add));
for (const [size, count] of work.echoes) {
  // Copied both ways, as between processes; `transfer` would move the buffer instead.
  const data = new Uint8Array(size);
  const roundTrip = async () => check((await pool.run(data, { name: "echo" })).length === size);
  times(`echo_${size >> 20}m`, await timed(count, roundTrip));
}

const start = now();
let left = work.burst;
const caller = async () => {
  while (left-- > 0) await add();
};
await Promise.all(Array.from({ length: work.in_flight }, caller));
figure("burst", "per s", (work.burst / (now() - start)) * 1e6, (work.burst / (now() - start)) * 1e6);

const after = work.stop_after_ms;
const stop = async () => {
  const controller = new AbortController();
  const timer = setTimeout(() => controller.abort(), after);
  let stopped = false;
  await pool.run({}, { name: "spin", signal: controller.signal }).catch(() => (stopped = true));
  clearTimeout(timer);
  check(stopped);
  await add();
};
times("stop", (await timed(work.stops, stop)).map((us) => us - after * 1000));
await pool.destroy();
