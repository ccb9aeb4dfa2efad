{#- What identifies the rows, and their scores: few bytes of each, for everything that must be known first. #}
CREATE TABLE keys AS
SELECT source, corpus, clip_name, mos
FROM stacked
