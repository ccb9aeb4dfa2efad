{#- All figures on columns in one scan: how many rows offend against each rule. #}
SELECT
    count(*) AS rows{% for check in checks %},
    count_if({{ check.condition }}) AS {{ check.key | identifier }}{% endfor %}

FROM {{ rows }}
