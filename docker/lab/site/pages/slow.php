<?php
// Waits for the upstream as for a database. A sleep() would hide mistakes:
// php-fpm's SIGQUIT ends it early.
header('Content-Type: text/plain');
$answer = file_get_contents('http://upstream:8000/slow.php?' . $_SERVER['QUERY_STRING']);
if ($answer === false) {
    http_response_code(500);
}
echo $answer;
