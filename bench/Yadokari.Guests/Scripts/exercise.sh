. "${ROOT:-}/yado/guest-lib.sh"
echo "exercise: begins"
echo "exercise: ends"
