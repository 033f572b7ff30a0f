// The commands a Node peer answers, and the stop-watch of its worker processes.
//
// A peer's bench.mjs calls main() with an object of these methods, all of them asynchronous:
//   install()           make the library's schema in the empty database
//   connect(), close()  between them, jobs can be enqueued and counted
//   enqueueOne()        commit one job
//   enqueueMany(count)  commit that many, in as many transactions as are best
//   unfinished()        jobs that wait or run
//   finished()          jobs that the database says have succeeded
//   work()              start a worker in this process, which runs until the process is ended
// It has the peer's own packages beside it; here, Node is all there is.

import { fork } from "node:child_process";
import { once } from "node:events";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";

const GLANCE = 5; // milliseconds between two reports of a worker process, and two looks at them
const PICKUP_GLANCE = 1;
const STALLED = 60_000; // milliseconds without progress after which a run is given up
const WARM_UP = 5; // jobs of a pickup run that are not reported: the worker is still starting
const PAUSE = [50, 100]; // milliseconds, drawn evenly, so that no periodic chore is hit or missed
const LINE = 300; // characters of an error
const USAGE = "setup | enqueue single N | enqueue bulk N | drain PROCESSES N | pickup TIMES";

class Failed extends Error {
  name = "Failed";
}

// CLOCK_MONOTONIC in milliseconds, which all processes share.
const now = () => Number(process.hrtime.bigint()) / 1e6;

const cpuSeconds = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
};

const tally = { jobs: 0, first: 0, latest: 0, cpuAtFirst: 0 };

/** Be the whole body of the peer's no-op handler, which was handed `jobs` at once. */
export function jobsStarted(jobs = 1) {
  tally.latest = now();
  if (tally.jobs === 0) {
    tally.first = tally.latest;
    tally.cpuAtFirst = cpuSeconds();
  }
  tally.jobs += jobs;
}

async function workerProcess(peer) {
  let told = 0;
  process.once("disconnect", () => process.exit(0));
  process.on("message", async (message) => {
    if (message === "go") {
      await peer.work();
    } else {
      const cpu = tally.jobs ? cpuSeconds() - tally.cpuAtFirst : 0;
      process.send({ ...tally, cpu }, () => process.exit(0));
    }
  });
  process.send("ready");
  setInterval(() => {
    if (told !== tally.jobs) {
      told = tally.jobs;
      process.send({ ...tally });
    }
  }, GLANCE);
}

const ready = (worker) =>
  new Promise((resolve, reject) => {
    worker.once("message", resolve);
    worker.once("exit", (code) => reject(new Failed(`a worker process ended with ${code}`)));
  });

/** The peer's worker processes. */
class Workers {
  #processes = [];
  #tallies = [];
  #ended = null; // the exit code of one that ended by itself
  #seen = { progress: -1, since: now() };

  /** Start `count` of them; they begin at the same moment, all imports done. */
  static async begun(count) {
    const team = new Workers();
    try {
      for (let index = 0; index < count; index++) team.#start(index);
      await Promise.all(team.#processes.map(ready));
      for (const worker of team.#processes) worker.send("go");
    } catch (error) {
      await team.stop();
      throw error;
    }
    return team;
  }

  #start(index) {
    const stdio = ["ignore", "ignore", "inherit", "ipc"];
    const worker = fork(process.argv[1], ["worker"], { stdio });
    this.#tallies[index] = { ...tally };
    worker.on("message", (told) => told !== "ready" && (this.#tallies[index] = told));
    worker.once("exit", (code) => (this.#ended ??= code ?? -1));
    this.#processes.push(worker);
  }

  get jobs() {
    return this.#tallies.reduce((sum, { jobs }) => sum + jobs, 0);
  }

  get first() {
    return Math.min(...this.#tallies.filter(({ jobs }) => jobs).map(({ first }) => first));
  }

  get latest() {
    return Math.max(...this.#tallies.map(({ latest }) => latest));
  }

  /** Throw where `progress` has stood still for a minute or a worker process has ended. */
  check(progress) {
    if (this.#ended !== null) throw new Failed(`a worker process ended with ${this.#ended}`);
    if (progress !== this.#seen.progress) this.#seen = { progress, since: now() };
    else if (now() - this.#seen.since > STALLED) throw new Failed(`no progress at ${progress}`);
  }

  /** End them. Answers their CPU seconds, each from its first job on. */
  async stop() {
    const running = this.#processes.filter((one) => one.exitCode === null && one.connected);
    const exits = running.map((worker) => once(worker, "exit"));
    for (const worker of running) worker.send("stop");
    await Promise.all(exits);
    return this.#tallies.reduce((sum, { cpu = 0 }) => sum + cpu, 0);
  }
}

// No orderly shutdown: the jobs are verified, and their database is thrown away.
async function withWorkers(count, use) {
  const team = await Workers.begun(count);
  try {
    return await use(team);
  } finally {
    await team.stop();
  }
}

/** From the first handler's start until the database says that all are finished. */
async function drain(peer, processes, rows) {
  if (await peer.unfinished()) throw new Failed("there are unfinished jobs already");
  const before = await peer.finished();
  await peer.enqueueMany(rows);
  const measured = await withWorkers(processes, async (team) => {
    const end = await allCommitted(peer, team, rows);
    const { first } = team;
    return { rows, seconds: (end - first) / 1000, worker_cpu_seconds: await team.stop() };
  });
  const done = (await peer.finished()) - before;
  if (done !== rows) throw new Failed(`${done} of ${rows} jobs have succeeded`);
  return measured;
}

async function allCommitted(peer, team, rows) {
  while (team.jobs < rows) {
    team.check(team.jobs);
    await sleep(GLANCE);
  }
  for (;;) {
    const asked = now(); // what the answer tells was committed before the question
    const left = await peer.unfinished();
    if (left === 0) return asked;
    team.check(left);
    await sleep(GLANCE);
  }
}

/** One job at a time to an idle worker, in another process. */
async function pickup(peer, times) {
  const milliseconds = [];
  await withWorkers(1, async (team) => {
    for (let index = 0; index < WARM_UP + times; index++) {
      const known = team.jobs;
      const asked = now();
      await peer.enqueueOne();
      while (team.jobs === known) {
        team.check(known);
        await sleep(PICKUP_GLANCE);
      }
      milliseconds.push(team.latest - asked);
      await sleep(PAUSE[0] + Math.random() * (PAUSE[1] - PAUSE[0]));
    }
  });
  return { milliseconds: milliseconds.slice(WARM_UP) };
}

/** One client: one commit after the other, or in bulk. */
async function enqueue(peer, how, rows) {
  const before = await peer.unfinished();
  const start = now();
  if (how === "bulk") await peer.enqueueMany(rows);
  else for (let index = 0; index < rows; index++) await peer.enqueueOne();
  const seconds = (now() - start) / 1000;
  const added = (await peer.unfinished()) - before;
  if (added !== rows) throw new Failed(`${added} of ${rows} jobs are in the database`);
  return { rows, seconds };
}

async function answer(peer, [command, ...words]) {
  const shape = [command, words.length].join(" ");
  if (shape === "setup 0") {
    await peer.install();
    return {};
  }
  await peer.connect();
  try {
    if (shape === "enqueue 2") return await enqueue(peer, words[0], Number(words[1]));
    if (shape === "drain 2") return await drain(peer, Number(words[0]), Number(words[1]));
    if (shape === "pickup 1") return await pickup(peer, Number(words[0]));
  } finally {
    await peer.close();
  }
  throw new Failed(`usage: bench.mjs ${USAGE}`);
}

/** Do what the command line asks; one line of JSON, or one line of error and exit code 1. */
export async function main(makePeer) {
  try {
    const url = process.env.BENCH_DATABASE_URL;
    if (!url) throw new Failed("BENCH_DATABASE_URL is not set");
    const peer = makePeer(url);
    if (process.argv[2] === "worker") return await workerProcess(peer);
    const measured = await answer(peer, process.argv.slice(2));
    process.stdout.write(`${JSON.stringify(measured)}\n`);
  } catch (error) {
    process.stderr.write(`${`${error}`.replace(/\s+/g, " ").slice(0, LINE)}\n`);
    process.exitCode = 1;
  }
}
