-- What is shown of a member and of an invitation, in one place each.

CREATE VIEW member_records AS
SELECT
    m.id, m.public_id, m.person_id, p.public_id AS person, p.email, p.name, m.account_id,
    a.public_id AS account, a.name AS account_name, m.role, m.created_at
FROM memberships AS m
INNER JOIN people AS p ON p.id = m.person_id
INNER JOIN accounts AS a ON a.id = m.account_id;

CREATE VIEW invitation_records AS
SELECT
    i.id, i.public_id, i.account_id, a.public_id AS account, a.name AS account_name, i.email, i.role,
    i.created_at, i.expires_at
FROM invitations AS i
INNER JOIN accounts AS a ON a.id = i.account_id;
