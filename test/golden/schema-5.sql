CREATE TABLE job (
 n INTEGER PRIMARY KEY AUTOINCREMENT,
 kind TEXT NOT NULL CHECK (kind IN ('training','transform')),
 id TEXT NOT NULL UNIQUE,
 name TEXT NOT NULL,
 name_lower TEXT NOT NULL,
 arn TEXT NOT NULL,
 state TEXT NOT NULL CHECK (state IN ('STARTING','PENDING','LAUNCHING','ADMITTED','DOWNLOADING','TRAINING','UPLOADING','SALVAGING','STOPPING','EXPIRING','COMPLETED','FAILED','STOPPED','MAX_RUNTIME')),
 status TEXT NOT NULL GENERATED ALWAYS AS (CASE state WHEN 'STARTING' THEN 'InProgress' WHEN 'PENDING' THEN 'InProgress' WHEN 'LAUNCHING' THEN 'InProgress' WHEN 'ADMITTED' THEN 'InProgress' WHEN 'DOWNLOADING' THEN 'InProgress' WHEN 'TRAINING' THEN 'InProgress' WHEN 'UPLOADING' THEN 'InProgress' WHEN 'SALVAGING' THEN 'InProgress' WHEN 'STOPPING' THEN 'Stopping' WHEN 'EXPIRING' THEN 'Stopping' WHEN 'COMPLETED' THEN 'Completed' WHEN 'FAILED' THEN 'Failed' WHEN 'STOPPED' THEN 'Stopped' WHEN 'MAX_RUNTIME' THEN 'Stopped' END) STORED,
 last_fact INTEGER NOT NULL DEFAULT 0,
 created_ms INTEGER NOT NULL,
 placed_ms INTEGER NOT NULL DEFAULT 0,
 started_ms INTEGER NOT NULL DEFAULT 0,
 ended_ms INTEGER NOT NULL DEFAULT 0,
 modified_ms INTEGER NOT NULL,
 cpus REAL NOT NULL DEFAULT 0,
 memory_bytes INTEGER NOT NULL DEFAULT 0,
 training_plan TEXT,
 needs TEXT NOT NULL,
 failure_reason TEXT,
 exit TEXT,
 image_digest TEXT,
 UNIQUE (kind, name_lower)
);
INSERT INTO job (kind, n, id, name, name_lower, arn, state, last_fact, created_ms, placed_ms, started_ms, ended_ms, modified_ms, cpus, memory_bytes, training_plan, needs, failure_reason, exit, image_digest)
 SELECT 'training', n, id, name, name_lower, arn, state, last_fact, created_ms, placed_ms, started_ms, ended_ms, modified_ms, cpus, memory_bytes, training_plan, needs, failure_reason, exit, image_digest FROM training_job;
DELETE FROM sqlite_sequence WHERE name = 'job';
INSERT INTO sqlite_sequence (name, seq) SELECT 'job', seq FROM sqlite_sequence WHERE name = 'training_job';
DROP TABLE training_job;
ALTER TABLE training_job_text RENAME TO job_text;
CREATE INDEX job_by_creation ON job (kind, created_ms, n, status, modified_ms, name, training_plan);
CREATE INDEX job_by_name ON job (kind, name_lower, n, status, created_ms, modified_ms, name, training_plan);
CREATE INDEX job_by_status ON job (kind, status, created_ms, n, modified_ms, name, training_plan);
