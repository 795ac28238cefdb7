-- A database of schema 0002 as a worker left it: one job finished and swept, one cancelled, one downloading.
BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL,
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0002');
CREATE TABLE files (
	job_key INTEGER NOT NULL,
	direction TEXT NOT NULL,
	kind TEXT NOT NULL,
	path TEXT NOT NULL,
	size INTEGER NOT NULL,
	sha256 TEXT NOT NULL,
	at REAL NOT NULL, seconds REAL DEFAULT '0' NOT NULL,
	PRIMARY KEY (job_key, direction, kind, path),
	FOREIGN KEY(job_key) REFERENCES jobs ("key")
);
INSERT INTO "files" VALUES(3,'down','input','data/a.tif',12,'00',121.0,0.5);
CREATE TABLE jobs (
	"key" INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
	worker TEXT NOT NULL,
	lease TEXT NOT NULL,
	delivery INTEGER NOT NULL,
	api_id TEXT NOT NULL,
	state TEXT NOT NULL,
	version INTEGER NOT NULL,
	attempts INTEGER NOT NULL,
	run INTEGER NOT NULL,
	told TEXT NOT NULL,
	gone BOOLEAN NOT NULL,
	spec TEXT NOT NULL,
	facts TEXT NOT NULL,
	created_at REAL NOT NULL,
	updated_at REAL NOT NULL, swept_at REAL,
	CONSTRAINT one_row_per_lease UNIQUE (worker, lease, delivery)
);
INSERT INTO "jobs" VALUES(1,'w','7/107/2026-01-01T00:00:00',1,'7','finished',5,0,1,'finished',0,'{"id": "7", "app": {"cmd": ["true"], "env": null}, "handler": {"image_url": "busybox", "image_name": null, "image_version": null, "entrypoint": null, "files_down": null, "files_up": {"output": "out"}, "later": ["field"]}, "meta": {"job_id": 107, "date_created": "2026-01-01T00:00:00"}, "hardware": {"cpu_cores": null, "memory": null, "gpu_model": null, "gpu_archi": null, "gpu_mem": null}, "problem": null, "unreadable": null}','{"image_id": null, "gpus": [], "run": null, "exit": {"code": 0, "reason": "", "started_at": null, "finished_at": null}, "detail": "", "stumbled": ""}',100.0,107.0,113.0);
INSERT INTO "jobs" VALUES(2,'w','8/108/2026-01-01T00:00:00',1,'8','cancelled',2,0,1,'preprocessing',1,'{"id": "8", "app": {"cmd": ["true"], "env": null}, "handler": {"image_url": "busybox", "image_name": null, "image_version": null, "entrypoint": null, "files_down": null, "files_up": {"output": "out"}, "later": ["field"]}, "meta": {"job_id": 108, "date_created": "2026-01-01T00:00:00"}, "hardware": {"cpu_cores": null, "memory": null, "gpu_model": null, "gpu_archi": null, "gpu_mem": null}, "problem": null, "unreadable": null}','{"image_id": null, "gpus": [], "run": null, "exit": {"code": 0, "reason": "", "started_at": null, "finished_at": null}, "detail": "", "stumbled": ""}',114.0,116.0,NULL);
INSERT INTO "jobs" VALUES(3,'w','9/109/2026-01-01T00:00:00',1,'9','downloading',2,0,1,'preprocessing',0,'{"id": "9", "app": {"cmd": ["true"], "env": null}, "handler": {"image_url": "busybox", "image_name": null, "image_version": null, "entrypoint": null, "files_down": null, "files_up": {"output": "out"}, "later": ["field"]}, "meta": {"job_id": 109, "date_created": "2026-01-01T00:00:00"}, "hardware": {"cpu_cores": null, "memory": null, "gpu_model": null, "gpu_archi": null, "gpu_mem": null}, "problem": null, "unreadable": null}','{"image_id": null, "gpus": [], "run": null, "exit": null, "detail": "", "stumbled": ""}',117.0,121.0,NULL);
CREATE TABLE moves (
	id INTEGER NOT NULL,
	job_key INTEGER NOT NULL,
	at REAL NOT NULL,
	source TEXT,
	target TEXT NOT NULL,
	because TEXT,
	run INTEGER NOT NULL,
	attempts INTEGER NOT NULL,
	detail TEXT NOT NULL,
	PRIMARY KEY (id),
	FOREIGN KEY(job_key) REFERENCES jobs ("key")
);
INSERT INTO "moves" VALUES(1,1,100.0,NULL,'fetched',NULL,1,0,'');
INSERT INTO "moves" VALUES(2,1,102.0,'fetched','downloading','accepted',1,0,'');
INSERT INTO "moves" VALUES(3,1,103.0,'downloading','running','downloaded',1,0,'');
INSERT INTO "moves" VALUES(4,1,105.0,'running','uploading','exited',1,0,'');
INSERT INTO "moves" VALUES(5,1,107.0,'uploading','finished','uploaded',1,0,'');
INSERT INTO "moves" VALUES(6,2,114.0,NULL,'fetched',NULL,1,0,'');
INSERT INTO "moves" VALUES(7,2,116.0,'fetched','cancelled','gone',1,0,'');
INSERT INTO "moves" VALUES(8,3,117.0,NULL,'fetched',NULL,1,0,'');
INSERT INTO "moves" VALUES(9,3,119.0,'fetched','downloading','accepted',1,0,'');
CREATE TABLE outbox (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
	job_key INTEGER NOT NULL,
	status TEXT NOT NULL,
	detail TEXT NOT NULL,
	queued_at REAL NOT NULL,
	sent_at REAL,
	FOREIGN KEY(job_key) REFERENCES jobs ("key")
);
INSERT INTO "outbox" VALUES(1,1,'preprocessing','',101.0,109.0);
INSERT INTO "outbox" VALUES(2,1,'running','',104.0,110.0);
INSERT INTO "outbox" VALUES(3,1,'postprocessing','',106.0,111.0);
INSERT INTO "outbox" VALUES(4,1,'finished','',108.0,112.0);
INSERT INTO "outbox" VALUES(5,2,'preprocessing','',115.0,NULL);
INSERT INTO "outbox" VALUES(6,3,'preprocessing','',118.0,NULL);
CREATE INDEX ix_jobs_api_id ON jobs (api_id);
CREATE INDEX jobs_live ON jobs (worker, "key") WHERE state IN ('downloading', 'fetched', 'running', 'uploading');
CREATE INDEX ix_moves_job_key ON moves (job_key);
CREATE INDEX ix_outbox_job_key ON outbox (job_key);
CREATE INDEX outbox_unsent ON outbox (job_key, id) WHERE sent_at IS NULL;
CREATE INDEX jobs_unswept ON jobs (worker, "key") WHERE swept_at IS NULL AND state NOT IN ('downloading', 'fetched', 'running', 'uploading');
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('jobs',3);
INSERT INTO "sqlite_sequence" VALUES('outbox',6);
COMMIT;
