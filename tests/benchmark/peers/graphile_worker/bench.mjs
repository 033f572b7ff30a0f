// graphile-worker: the row of a finished job is deleted.

import { Logger, makeWorkerUtils, run, runMigrations } from "graphile-worker";

import { jobsStarted, main } from "../peer.mjs";

// As its performance guide measures: jobs are fetched 500 at a time into a queue of the process,
// and those that end in the same turn of the event loop are deleted by one statement.
const WORKER = {
  concurrentJobs: 24,
  maxPoolSize: 25,
  localQueue: { size: 500 },
  completeJobBatchDelay: 0,
  failJobBatchDelay: 0,
};
const CHUNK = 5000; // jobs added by one statement
const UNFINISHED = "SELECT count(*)::int AS count FROM graphile_worker._private_jobs";

const silent = new Logger(() => () => {}); // it would write two lines for each job

const makePeer = (connectionString) => ({
  added: 0,

  async install() {
    await runMigrations({ connectionString, logger: silent });
  },

  async connect() {
    this.client = await makeWorkerUtils({ connectionString, logger: silent });
  },

  async close() {
    await this.client.release();
  },

  async enqueueOne() {
    await this.client.addJob("noop", {});
    this.added += 1;
  },

  async enqueueMany(count) {
    for (let left = count; left > 0; left -= CHUNK) {
      const job = { identifier: "noop", payload: {} };
      await this.client.addJobs(Array(Math.min(CHUNK, left)).fill(job));
    }
    this.added += count;
  },

  // A job that has failed stays in the table: the run would not end.
  async unfinished() {
    const { rows } = await this.client.withPgClient((link) => link.query(UNFINISHED));
    return rows[0].count;
  },

  async finished() {
    return this.added - (await this.unfinished());
  },

  async work() {
    const preset = { worker: { ...WORKER, connectionString, logger: silent } };
    await run({ preset, taskList: { noop: () => jobsStarted() } });
  },
});

await main(makePeer);
