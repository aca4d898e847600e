-- SPDX-License-Identifier: MIT
-- A database in memory: rows with text, indexes, joins, sorting, changes, and strings put
-- together. @ROWS@ is replaced by a number.
PRAGMA journal_mode = MEMORY;
CREATE TABLE person (id INTEGER PRIMARY KEY, name TEXT, town TEXT, age INTEGER);
CREATE TABLE purchase (id INTEGER PRIMARY KEY, person INTEGER, what TEXT, cents INTEGER);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < @ROWS@)
INSERT INTO person SELECT i, printf('name %d', i * 7919 % @ROWS@), 'town ' || (i % 97), i % 90 FROM n;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < @ROWS@ * 2)
INSERT INTO purchase
SELECT i, i * 31 % @ROWS@ + 1, substr('bread milk paper apples rope', i % 23 + 1, 6), i % 4999 FROM n;
CREATE INDEX person_town ON person (town, name);
CREATE INDEX purchase_person ON purchase (person);
SELECT town, count(*), sum(cents), max(what) FROM person JOIN purchase ON person = person.id
GROUP BY town ORDER BY sum(cents) DESC LIMIT 5;
SELECT count(*), sum(length(names)) FROM (
	SELECT age, group_concat(upper(name), ';') AS names FROM person GROUP BY age);
UPDATE person SET name = replace(name, 'name', 'first and last name') WHERE id % 3 = 0;
DELETE FROM purchase WHERE cents % 4 = 1;
SELECT what, count(DISTINCT person) FROM purchase GROUP BY what ORDER BY what LIMIT 5;
SELECT count(*) FROM (SELECT name FROM person ORDER BY name DESC, town);
SELECT json_array_length(json_group_array(json_object('id', id, 'name', name))) FROM person;
