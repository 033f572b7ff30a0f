// pg-boss: a finished job stays as a row of state "completed".

import { PgBoss } from "pg-boss";

import { jobsStarted, main } from "../peer.mjs";

const QUEUE = "bench";
// A batch is fetched and completed by one statement each, and the next one follows at once as long
// as they come back full. Two loops, so that one fetches while the other completes, drained a third
// faster than one; four, or a batch of 2000, were no faster than that.
const WORK = {
  batchSize: 1000,
  localConcurrency: 2,
  burstWhenBatchFull: true,
  pollingIntervalSeconds: 0.5,
};
const CHUNK = 5000; // jobs inserted by one statement
const COUNT = "SELECT count(*)::int AS count FROM pgboss.job WHERE name = $1 AND state";

const makePeer = (connectionString) => ({
  // With notifications a job is picked up at once instead of at the next poll.
  boss: new PgBoss({ connectionString, useListenNotify: true }),

  async install() {
    await this.connect();
    await this.boss.createQueue(QUEUE, { notify: true });
    await this.close();
  },

  async connect() {
    this.boss.on("error", (error) => process.stderr.write(`${error}\n`));
    await this.boss.start();
  },

  async close() {
    await this.boss.stop({ graceful: false });
  },

  async enqueueOne() {
    await this.boss.send(QUEUE, {});
  },

  async enqueueMany(count) {
    for (let left = count; left > 0; left -= CHUNK) {
      await this.boss.insert(QUEUE, Array(Math.min(CHUNK, left)).fill({ data: {} }));
    }
  },

  async unfinished() {
    return await this.count("< 'completed'");
  },

  async finished() {
    return await this.count("= 'completed'");
  },

  async count(states) {
    const { rows } = await this.boss.getDb().executeSql(`${COUNT} ${states}`, [QUEUE]);
    return rows[0].count;
  },

  async work() {
    await this.connect();
    await this.boss.work(QUEUE, WORK, async (jobs) => jobsStarted(jobs.length));
  },
});

await main(makePeer);
