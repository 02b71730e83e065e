/* The tables, and how an older file becomes a newer one. SPDX-License-Identifier: Apache-2.0 */
#include "store/db.h"

/* The words of the state table as SQL. When a state is added, a database of an earlier version still has the old CHECK:
 * add a migration that rebuilds job. test_store pins the text of each version so that this is not forgotten.
 */
static void add_states(struct buf *out)
{
	for (int s = 0; s < JOB_STATE_COUNT; s++)
		buf_f(out, "%s'%s'", s ? "," : "", job_state_info[s].name);
}

static void add_status_case(struct buf *out)
{
	buf_z(out, "CASE state");
	for (int s = 0; s < JOB_STATE_COUNT; s++)
		buf_f(out, " WHEN '%s' THEN '%s'", job_state_info[s].name, job_state_info[s].status);
	buf_z(out, " END");
}

/* What all versions of the table of jobs have, from the state on. */
static void add_job_columns(struct buf *out)
{
	buf_z(out, " state TEXT NOT NULL CHECK (state IN (");
	add_states(out);
	buf_z(out, ")),\n status TEXT NOT NULL GENERATED ALWAYS AS (");
	add_status_case(out);
	buf_z(out, ") STORED,\n"
	           " last_fact INTEGER NOT NULL DEFAULT 0,\n"
	           " created_ms INTEGER NOT NULL,\n"
	           " placed_ms INTEGER NOT NULL DEFAULT 0,\n"
	           " started_ms INTEGER NOT NULL DEFAULT 0,\n"
	           " ended_ms INTEGER NOT NULL DEFAULT 0,\n"
	           " modified_ms INTEGER NOT NULL,\n"
	           " cpus REAL NOT NULL DEFAULT 0,\n"
	           " memory_bytes INTEGER NOT NULL DEFAULT 0,\n"
	           " training_plan TEXT,\n"
	           " needs TEXT NOT NULL,\n"
	           " failure_reason TEXT,\n"
	           " exit TEXT,\n"
	           " image_digest TEXT");
}

/* Every list is a walk of one of the indexes, and each holds the columns of every filter, so that what does not match
 * is passed over without touching its row. The texts of a job lie in a table of their own: rows stay small. */
static void version_1(struct buf *out)
{
	buf_z(out, "CREATE TABLE training_job (\n"
	           " n INTEGER PRIMARY KEY AUTOINCREMENT,\n"
	           " id TEXT NOT NULL UNIQUE,\n"
	           " name TEXT NOT NULL,\n"
	           " name_lower TEXT NOT NULL UNIQUE,\n"
	           " arn TEXT NOT NULL,\n");
	add_job_columns(out);
	buf_z(out, "\n);\n"
	           "CREATE INDEX training_job_by_creation ON training_job"
	           " (created_ms, n, status, modified_ms, name, training_plan);\n"
	           "CREATE INDEX training_job_by_name ON training_job"
	           " (name_lower, n, status, created_ms, modified_ms, name, training_plan);\n"
	           "CREATE INDEX training_job_by_status ON training_job"
	           " (status, created_ms, n, modified_ms, name, training_plan);\n"
	           "CREATE TABLE training_job_text (\n"
	           " n INTEGER PRIMARY KEY,\n"
	           " echo TEXT NOT NULL,\n"
	           " request TEXT NOT NULL\n"
	           ");\n"
	           "CREATE TABLE transition (\n"
	           " job INTEGER NOT NULL,\n"
	           " seq INTEGER NOT NULL,\n"
	           " status TEXT NOT NULL,\n"
	           " start_ms INTEGER NOT NULL,\n"
	           " end_ms INTEGER,\n"
	           " message TEXT NOT NULL,\n"
	           " PRIMARY KEY (job, seq)\n"
	           ") WITHOUT ROWID;\n"
	           "CREATE TABLE tag (\n"
	           " n INTEGER PRIMARY KEY,\n"
	           " arn TEXT NOT NULL,\n"
	           " key TEXT NOT NULL,\n"
	           " value TEXT NOT NULL,\n"
	           " UNIQUE (arn, key)\n"
	           ");\n"
	           "CREATE TABLE cleanup (\n"
	           " id TEXT PRIMARY KEY,\n"
	           " remove INTEGER NOT NULL\n"
	           ") WITHOUT ROWID;\n");
}

/* The hosts of a job of several, host 1 with the job's own id. A job of one host has none: the job's row is its. */
static void version_2(struct buf *out)
{
	buf_z(out, "CREATE TABLE host (\n"
	           " job INTEGER NOT NULL,\n"
	           " number INTEGER NOT NULL,\n"
	           " id TEXT NOT NULL UNIQUE,\n"
	           " phase TEXT NOT NULL,\n"
	           " last_fact INTEGER NOT NULL DEFAULT 0,\n"
	           " cpus REAL NOT NULL DEFAULT 0,\n"
	           " memory_bytes INTEGER NOT NULL DEFAULT 0,\n"
	           " failed_ms INTEGER NOT NULL DEFAULT 0,\n"
	           " failure TEXT,\n"
	           " result TEXT,\n"
	           " exit TEXT,\n"
	           " parts TEXT,\n"
	           " PRIMARY KEY (job, number)\n"
	           ") WITHOUT ROWID;\n");
}

/* Algorithms; as training_job, the texts apart. image: by its digest, once that is known. validation: how far that of
 * an algorithm's ValidationSpecification is, and what its job, model and transform job are called. */
static void version_3(struct buf *out)
{
	buf_z(out, "CREATE TABLE algorithm (\n"
	           " n INTEGER PRIMARY KEY AUTOINCREMENT,\n"
	           " name TEXT NOT NULL,\n"
	           " name_lower TEXT NOT NULL UNIQUE,\n"
	           " arn TEXT NOT NULL UNIQUE,\n"
	           " status TEXT NOT NULL CHECK (status IN"
	           " ('Pending','InProgress','Completed','Failed','Deleting')),\n"
	           " created_ms INTEGER NOT NULL,\n"
	           " modified_ms INTEGER NOT NULL,\n"
	           " description TEXT,\n"
	           " image TEXT NOT NULL,\n"
	           " details TEXT NOT NULL\n"
	           ");\n"
	           "CREATE INDEX algorithm_by_creation ON algorithm (created_ms, n, status, modified_ms, name);\n"
	           "CREATE INDEX algorithm_by_name ON algorithm"
	           " (name_lower, n, status, created_ms, modified_ms, name);\n"
	           "CREATE INDEX algorithm_by_status ON algorithm (status, created_ms, n, modified_ms, name);\n"
	           "CREATE TABLE algorithm_text (\n"
	           " n INTEGER PRIMARY KEY,\n"
	           " request TEXT NOT NULL\n"
	           ");\n"
	           "CREATE TABLE validation (\n"
	           " algorithm INTEGER PRIMARY KEY,\n"
	           " step TEXT NOT NULL,\n"
	           " name TEXT UNIQUE\n"
	           ");\n"
	           "CREATE INDEX validation_by_step ON validation (step);\n");
}

/* Models, groups of model packages, and model packages; no list of them is by status. A package of a group has the
 * group's name and a version, of which none is given twice; each of the others has a name of its own. */
static void version_4(struct buf *out)
{
	buf_z(out, "CREATE TABLE model (\n"
	           " n INTEGER PRIMARY KEY AUTOINCREMENT,\n"
	           " name TEXT NOT NULL,\n"
	           " name_lower TEXT NOT NULL UNIQUE,\n"
	           " arn TEXT NOT NULL UNIQUE,\n"
	           " status TEXT NOT NULL DEFAULT 'Completed',\n"
	           " created_ms INTEGER NOT NULL,\n"
	           " modified_ms INTEGER NOT NULL\n"
	           ");\n"
	           "CREATE INDEX model_by_creation ON model (created_ms, n, status, modified_ms, name);\n"
	           "CREATE INDEX model_by_name ON model (name_lower, n, status, created_ms, modified_ms, name);\n"
	           "CREATE TABLE model_text (\n"
	           " n INTEGER PRIMARY KEY,\n"
	           " request TEXT NOT NULL,\n"
	           " containers TEXT NOT NULL\n"
	           ");\n");
	buf_z(out, "CREATE TABLE model_package_group (\n"
	           " n INTEGER PRIMARY KEY AUTOINCREMENT,\n"
	           " name TEXT NOT NULL,\n"
	           " name_lower TEXT NOT NULL UNIQUE,\n"
	           " arn TEXT NOT NULL UNIQUE,\n"
	           " status TEXT NOT NULL DEFAULT 'Completed',\n"
	           " created_ms INTEGER NOT NULL,\n"
	           " modified_ms INTEGER NOT NULL,\n"
	           " description TEXT,\n"
	           " created_by TEXT NOT NULL,\n"
	           " last_version INTEGER NOT NULL DEFAULT 0\n"
	           ");\n"
	           "CREATE INDEX model_package_group_by_creation ON model_package_group"
	           " (created_ms, n, status, modified_ms, name);\n"
	           "CREATE INDEX model_package_group_by_name ON model_package_group"
	           " (name_lower, n, status, created_ms, modified_ms, name);\n"
	           "CREATE TABLE model_package (\n"
	           " n INTEGER PRIMARY KEY AUTOINCREMENT,\n"
	           " name TEXT NOT NULL,\n"
	           " name_lower TEXT NOT NULL,\n"
	           " version INTEGER NOT NULL DEFAULT 0,\n"
	           " arn TEXT NOT NULL UNIQUE,\n"
	           " status TEXT NOT NULL,\n"
	           " approval TEXT,\n"
	           " created_ms INTEGER NOT NULL,\n"
	           " modified_ms INTEGER NOT NULL,\n"
	           " token TEXT UNIQUE,\n"
	           " UNIQUE (name_lower, version)\n"
	           ");\n"
	           "CREATE INDEX model_package_by_creation ON model_package"
	           " (created_ms, n, status, modified_ms, name, name_lower, version, approval);\n"
	           "CREATE INDEX model_package_by_name ON model_package"
	           " (name_lower, n, status, created_ms, modified_ms, name, version, approval);\n"
	           "CREATE TABLE model_package_text (\n"
	           " n INTEGER PRIMARY KEY,\n"
	           " created_by TEXT NOT NULL,\n"
	           " modified_by TEXT,\n"
	           " request TEXT NOT NULL\n"
	           ");\n");
}

/* Transform jobs are jobs too: the table gets the kind, and names are unique within it. */
static void version_5(struct buf *out)
{
	static const char columns[] = "n, id, name, name_lower, arn, state, last_fact, created_ms, placed_ms, "
	                              "started_ms, ended_ms, modified_ms, cpus, memory_bytes, training_plan, needs, "
	                              "failure_reason, exit, image_digest";

	buf_z(out, "CREATE TABLE job (\n"
	           " n INTEGER PRIMARY KEY AUTOINCREMENT,\n"
	           " kind TEXT NOT NULL CHECK (kind IN ('training','transform')),\n"
	           " id TEXT NOT NULL UNIQUE,\n"
	           " name TEXT NOT NULL,\n"
	           " name_lower TEXT NOT NULL,\n"
	           " arn TEXT NOT NULL,\n");
	add_job_columns(out);
	buf_f(out,
	      ",\n UNIQUE (kind, name_lower)\n);\n"
	      "INSERT INTO job (kind, %s)\n SELECT 'training', %s FROM training_job;\n"
	      /* numbers are never used twice, also not those of deleted jobs */
	      "DELETE FROM sqlite_sequence WHERE name = 'job';\n"
	      "INSERT INTO sqlite_sequence (name, seq)"
	      " SELECT 'job', seq FROM sqlite_sequence WHERE name = 'training_job';\n"
	      "DROP TABLE training_job;\n"
	      "ALTER TABLE training_job_text RENAME TO job_text;\n",
	      columns, columns);
	buf_z(out, "CREATE INDEX job_by_creation ON job"
	           " (kind, created_ms, n, status, modified_ms, name, training_plan);\n"
	           "CREATE INDEX job_by_name ON job"
	           " (kind, name_lower, n, status, created_ms, modified_ms, name, training_plan);\n"
	           "CREATE INDEX job_by_status ON job"
	           " (kind, status, created_ms, n, modified_ms, name, training_plan);\n");
}

void schema_text(unsigned version, struct buf *out)
{
	static void (*const versions[])(struct buf *) = { version_1, version_2, version_3, version_4, version_5 };

	must(version >= 1 && version <= ARRAY_LEN(versions) && ARRAY_LEN(versions) == SCHEMA_VERSION);
	versions[version - 1](out);
}

static int version_get(struct conn *c, unsigned *ret, struct err *e)
{
	sqlite3_stmt *st;
	int r;

	if (conn_prepare(c, "PRAGMA user_version", &st, e) < 0)
		return -1;
	r = db_row(st, e, "reading the schema's version");
	if (r < 0)
		return -1;
	*ret = r ? (unsigned)sqlite3_column_int(st, 0) : 0;
	sqlite3_reset(st);
	return 0;
}

/* One transaction a version, so that a kill in the middle leaves the file at a version, never between two. */
static int migrate_to(struct conn *c, unsigned version, struct err *e)
{
	_cleanup_buf_ struct buf sql = { 0 };

	buf_z(&sql, "BEGIN IMMEDIATE;\n");
	schema_text(version, &sql);
	buf_f(&sql, "PRAGMA user_version = %u;\nCOMMIT;\n", version);
	if (conn_exec(c, sql.p, e) < 0) {
		sqlite3_exec(c->db, "ROLLBACK", NULL, NULL, NULL);
		return err_in(e, "bringing the database to version %u", version);
	}
	return 0;
}

int schema_migrate(struct conn *c, struct err *e)
{
	unsigned have;

	if (version_get(c, &have, e) < 0)
		return -1;
	if (have > SCHEMA_VERSION)
		return err_set(e, ERR_INVALID,
		               "the database is of version %u, written by a newer bloomeryd; this one knows up to %d",
		               have, SCHEMA_VERSION);
	while (have < SCHEMA_VERSION)
		if (migrate_to(c, ++have, e) < 0)
			return -1;
	return 0;
}
